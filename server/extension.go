package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"apron/api"
)

// extensionTimeout bounds one call, which only reads and writes the store.
const extensionTimeout = 30 * time.Second

// maxExtensionAnswer is the largest answer that is read, in bytes: a history with long reasons.
const maxExtensionAnswer = 64 << 20

// Revisions returns the history of the service the ARN names, newest revision first.
func (l Local) Revisions(ctx context.Context, arn string) ([]api.RevisionSummary, error) {
	var out api.ListRevisionsResponse
	err := l.extend(ctx, "ListRevisions", api.ListRevisionsRequest{ServiceARN: arn}, &out)
	return out.Revisions, err
}

// Rollback deploys a revision that has served again; 0 is the one before the one that serves. It
// returns the operation, which has only begun, and the revision's number.
func (l Local) Rollback(ctx context.Context, arn string, number int) (operation string, revision int, err error) {
	var out api.RollbackServiceResponse
	err = l.extend(ctx, "RollbackService", api.RollbackServiceRequest{ServiceARN: arn, Number: number}, &out)
	return out.OperationID, out.Number, err
}

// Operations returns the newest operations of the service the ARN names, newest first, at most limit
// of them (0: all), with the reasons of those that failed.
func (l Local) Operations(ctx context.Context, arn string, limit int) ([]api.OperationReason, error) {
	in := api.ListReasonsRequest{ServiceARN: arn}
	if limit > 0 {
		in.MaxResults = &limit
	}
	var out api.ListReasonsResponse
	err := l.extend(ctx, "ListReasons", in, &out)
	return out.Operations, err
}

// Cancel asks that an operation end by undoing what it did: the one with the id, or without one the
// one in progress of the service the ARN names. The end is for the caller to wait for.
func (l Local) Cancel(ctx context.Context, arn, operation string) (api.CancelOperationResponse, error) {
	in := api.CancelOperationRequest{OperationID: operation}
	if operation == "" {
		in.ServiceARN = arn
	}
	var out api.CancelOperationResponse
	err := l.extend(ctx, "CancelOperation", in, &out)
	return out, err
}

// extend calls an action of the API's extension as the administrator.
func (l Local) extend(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, extensionTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Listen+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", api.ExtensionPrefix+action)
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: l.Key.ID, SecretAccessKey: l.Key.Secret}
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), api.ExtensionName, l.Region, time.Now()); err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("reach the server: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxExtensionAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return json.Unmarshal(answer, out)
	}
	var refusal struct{ Message string }
	if json.Unmarshal(answer, &refusal) != nil || refusal.Message == "" {
		return fmt.Errorf("%s: %s", action, resp.Status)
	}
	return errors.New(refusal.Message)
}
