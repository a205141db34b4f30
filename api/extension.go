package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"apron"
	"apron/control"
)

// ExtensionName is the signing name of what Apron offers beside the services of AWS.
const ExtensionName = "apron"

// ExtensionPrefix begins the X-Amz-Target of its actions.
const ExtensionPrefix = "Apron."

// extension is what App Runner's API has no action for: the history of a service and going back in
// it, and the reasons of its operations and ending them. It speaks awsJson1_0 as App Runner does, signed for a name of
// its own, so that no client of AWS ever meets it. Its structs below are its model.
type extension struct{ control *control.Control }

// ListRevisionsRequest asks for the history of a service.
type ListRevisionsRequest struct {
	ServiceARN string `json:"ServiceArn"`
}

// ListRevisionsResponse is a service's history, newest first.
type ListRevisionsResponse struct{ Revisions []RevisionSummary }

// RevisionSummary is one revision of a service.
type RevisionSummary struct {
	ID        string `json:"RevisionId"`
	Number    int
	Outcome   string // DEPLOYED, SUPERSEDED, ROLLED_BACK or FAILED; absent while its deployment runs
	Serving   bool   // it has the service's requests, or will have them again when it is resumed
	Source    string // image identifier, or URL and branch of a repository
	Digest    string `json:",omitempty"` // of the image; absent: not resolved
	Commit    string `json:",omitempty"` // that was built; absent: none was, or not yet
	CopyOf    int    `json:",omitempty"` // number of the revision it repeats; absent: none
	Reason    string `json:",omitempty"` // why its deployment failed
	CreatedAt *Timestamp
}

// RollbackServiceRequest asks for the deployment of a revision that has served. Number 0, or absent,
// is the one that served last before the one that serves now.
type RollbackServiceRequest struct {
	ServiceARN string `json:"ServiceArn"`
	Number     int    `json:",omitempty"`
}

// RollbackServiceResponse names the START_DEPLOYMENT operation and the revision it deploys again.
type RollbackServiceResponse struct {
	OperationID string `json:"OperationId"`
	Number      int
}

// ListReasonsRequest asks for the operations of a service.
type ListReasonsRequest struct {
	ServiceARN string  `json:"ServiceArn"`
	MaxResults *int    `json:",omitempty"` // 1 or more; absent: everything
	NextToken  *string `json:",omitempty"` // of the page before
}

// ListReasonsResponse is a page of a service's operations, newest first.
type ListReasonsResponse struct {
	Operations []OperationReason
	NextToken  *string `json:",omitempty"`
}

// OperationReason is an operation with what App Runner does not show of it.
type OperationReason struct {
	OperationSummary
	Reason string `json:",omitempty"` // why it failed
}

// CancelOperationRequest asks that an operation end by undoing what it did: the one with the id, or the
// one in progress of a service. Exactly one of the two is sent.
type CancelOperationRequest struct {
	ServiceARN  string `json:"ServiceArn,omitempty"`
	OperationID string `json:"OperationId,omitempty"`
}

// CancelOperationResponse is the operation that is about to end.
type CancelOperationResponse struct {
	ServiceARN  string `json:"ServiceArn"`
	OperationID string `json:"OperationId"`
	Type        string
}

// head implements awsService.
func (extension) head(r *http.Request) (string, error) {
	values := r.Header["X-Amz-Target"]
	if r.Method != http.MethodPost || len(values) != 1 {
		return "", errUnknownOperation
	}
	name, ok := strings.CutPrefix(values[0], ExtensionPrefix)
	if !ok {
		return "", errUnknownOperation
	}
	return name, nil
}

// serve implements awsService.
func (e extension) serve(ctx context.Context, c *call) ([]byte, error) {
	switch c.action {
	case "ListRevisions":
		return extend(ctx, c, e.listRevisions)
	case "RollbackService":
		return extend(ctx, c, e.rollbackService)
	case "ListReasons":
		return extend(ctx, c, e.listReasons)
	case "CancelOperation":
		return extend(ctx, c, e.cancelOperation)
	default:
		return nil, errUnknownOperation
	}
}

// refuse implements awsService.
func (extension) refuse(_ *call, err error) (answer, []byte) {
	return jsonError(explain(err, hasInvalidRequest|hasInvalidState|hasResourceNotFound|hasInternalServiceError))
}

// extend carries out one action on its structs.
func extend[In, Out any](ctx context.Context, c *call, f func(ctx context.Context, scope apron.Scope, in In) (Out, error)) ([]byte, error) {
	var in In
	if err := decodeStrict(c.body, &in); err != nil {
		return nil, err
	}
	out, err := f(ctx, c.scope, in)
	if err != nil {
		return nil, err
	}
	return encode(out)
}

// decodeStrict reads one JSON object without members that in does not have. No bytes mean {}. The
// error quotes nothing of the body.
func decodeStrict(body []byte, in any) error {
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return syntaxError("The body is not the JSON object of this action.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return syntaxError("Unexpected data after the JSON object.")
	}
	return nil
}

func (e extension) listRevisions(ctx context.Context, scope apron.Scope, in ListRevisionsRequest) (*ListRevisionsResponse, error) {
	list, svc, err := e.control.Revisions(ctx, scope, in.ServiceARN)
	if err != nil {
		return nil, err
	}
	out := &ListRevisionsResponse{Revisions: make([]RevisionSummary, 0, len(list))}
	for _, rev := range slices.Backward(list) {
		summary := RevisionSummary{
			ID: string(rev.ID), Number: rev.Number, Outcome: string(rev.Outcome), Serving: rev.ID == svc.Active, Source: sourceOf(rev.Config.Source),
			Digest: rev.Image.Digest, CopyOf: rev.CopyOf, Reason: rev.Reason, CreatedAt: timestamp(rev.CreatedAt),
		}
		if rev.Build != nil {
			summary.Commit = rev.Build.Commit
		}
		out.Revisions = append(out.Revisions, summary)
	}
	return out, nil
}

// sourceOf names where a revision comes from.
func sourceOf(s apron.SourceConfiguration) string {
	switch {
	case s.Image != nil:
		return s.Image.Identifier
	case s.Code != nil:
		return s.Code.URL + " " + s.Code.Branch
	default:
		return ""
	}
}

func (e extension) rollbackService(ctx context.Context, scope apron.Scope, in RollbackServiceRequest) (*RollbackServiceResponse, error) {
	if in.Number < 0 {
		return nil, apron.Faultf(apron.Invalid, "Number is negative.")
	}
	op, number, err := e.control.RollbackService(ctx, scope, in.ServiceARN, in.Number)
	if err != nil {
		return nil, err
	}
	return &RollbackServiceResponse{OperationID: string(op), Number: number}, nil
}

func (e extension) listReasons(ctx context.Context, scope apron.Scope, in ListReasonsRequest) (*ListReasonsResponse, error) {
	if in.MaxResults != nil && *in.MaxResults < 1 {
		return nil, apron.Faultf(apron.Invalid, "MaxResults is not 1 or more.")
	}
	list := listing{action: "ListReasons", scope: scope, filter: in.ServiceARN}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	operations, after, err := e.control.Operations(ctx, scope, in.ServiceARN, page)
	if err != nil {
		return nil, err
	}
	return &ListReasonsResponse{
		Operations: each(operations, func(op apron.Operation) OperationReason {
			return OperationReason{OperationSummary: wireOperation(op, in.ServiceARN), Reason: op.Reason}
		}),
		NextToken: list.next(after),
	}, nil
}

func (e extension) cancelOperation(ctx context.Context, scope apron.Scope, in CancelOperationRequest) (*CancelOperationResponse, error) {
	var op apron.Operation
	var svc apron.Service
	var err error
	switch {
	case (in.ServiceARN == "") == (in.OperationID == ""):
		err = apron.Faultf(apron.Invalid, "Exactly one of ServiceArn and OperationId is required.")
	case in.OperationID != "":
		op, svc, err = e.control.CancelOperationByID(ctx, scope, apron.OperationID(in.OperationID))
	default:
		op, svc, err = e.control.CancelOperation(ctx, scope, in.ServiceARN)
	}
	if err != nil {
		return nil, err
	}
	return &CancelOperationResponse{ServiceARN: svc.ARN().String(), OperationID: string(op.ID), Type: string(op.Type)}, nil
}
