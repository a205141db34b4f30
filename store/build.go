package store

import (
	"context"
	"encoding/json"
	"fmt"

	"apron"
)

// buildDocument is the stored form of an apron.Build; see configDocument.
type buildDocument struct {
	Commit         string      `json:"commit"`
	Version        string      `json:"version"`
	RuntimeVersion string      `json:"runtime_version,omitempty"`
	Run            runDocument `json:"run"`
}

// encodeBuild returns the stored form of b, empty for nil.
func encodeBuild(b *apron.Build) (string, error) {
	if b == nil {
		return "", nil
	}
	doc, err := json.Marshal(buildDocument{b.Commit, b.Version, b.RuntimeVersion, runDocument(b.Run)})
	if err != nil {
		return "", fmt.Errorf("encode build: %w", err)
	}
	if hasNUL(doc) {
		return "", apron.Faultf(apron.Invalid, "The configuration must not contain the character U+0000.")
	}
	return string(doc), nil
}

// decodeBuild reads what encodeBuild made. Errors never quote the document: it holds secrets.
func decodeBuild(stored []byte) (*apron.Build, error) {
	if len(stored) == 0 {
		return nil, nil
	}
	var doc buildDocument
	if err := json.Unmarshal(stored, &doc); err != nil {
		return nil, fmt.Errorf("decode build: %w", err)
	}
	return &apron.Build{
		Commit: doc.Commit, Version: doc.Version, RuntimeVersion: doc.RuntimeVersion, Run: apron.RunConfiguration(doc.Run),
	}, nil
}

// SetRevisionBuild records the image that was built for the revision, and from what. ErrNotFound.
func (t *Tx) SetRevisionBuild(ctx context.Context, id apron.RevisionID, image apron.Image, build apron.Build) error {
	doc, err := encodeBuild(&build)
	if err != nil {
		return fmt.Errorf("set build of revision %s: %w", id, err)
	}
	n, err := t.exec(ctx, `update revisions set image_reference = ?, image_digest = ?, build = ? where id = ?`,
		image.Reference, image.Digest, doc, string(id))
	return changed(n, err, "set build of revision", string(id))
}
