package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/api"
	"apron/store"
)

// extended turns a signed call into one of the extension.
func extended(s *signing) {
	s.service = api.ExtensionName
	s.r.Header.Set("X-Amz-Target", strings.Replace(s.r.Header.Get("X-Amz-Target"), "AppRunner.", api.ExtensionPrefix, 1))
}

// answered decodes an answer of 200.
func answered[Out any](t *testing.T, code int, body []byte) Out {
	t.Helper()
	var out Out
	if err := json.Unmarshal(body, &out); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s, %v", code, body, err)
	}
	return out
}

// TestExtension goes through a service's history, its reasons, and back to an earlier revision.
func TestExtension(t *testing.T) {
	f := newFront(t)
	arn := f.failedUpdate(t)

	w := f.call(t, "ListRevisions", `{"ServiceArn":"`+arn+`"}`, extended)
	list := answered[api.ListRevisionsResponse](t, w.Code, w.Body.Bytes()).Revisions
	if len(list) != 2 || list[0].Number != 2 || list[0].Outcome != "ROLLED_BACK" || list[0].Reason != "It exits." ||
		list[0].Serving || !list[1].Serving || list[1].Source == "" || !list[1].CreatedAt.Equal(epoch.Truncate(time.Millisecond)) {
		t.Errorf("revisions %+v", list)
	}

	w = f.call(t, "ListReasons", `{"ServiceArn":"`+arn+`","MaxResults":1}`, extended)
	page := answered[api.ListReasonsResponse](t, w.Code, w.Body.Bytes())
	if len(page.Operations) != 1 || page.Operations[0].Reason != "It exits." || page.NextToken == nil {
		t.Fatalf("operations %s", w.Body)
	}
	w = f.call(t, "ListReasons", `{"ServiceArn":"`+arn+`","NextToken":"`+*page.NextToken+`"}`, extended)
	if rest := answered[api.ListReasonsResponse](t, w.Code, w.Body.Bytes()); len(rest.Operations) != 1 || *rest.Operations[0].Type != "CREATE_SERVICE" {
		t.Errorf("the second page is %s", w.Body)
	}

	w = f.call(t, "RollbackService", `{"ServiceArn":"`+arn+`"}`, extended)
	wantProblem(t, w.Code, w.Body.Bytes(), "InvalidRequestException", "has no earlier revision to go back to")
	f.write(t, func(tx *store.Tx) error {
		return tx.SetRevisionOutcome(t.Context(), f.revision(t, arn, 2), apron.RevisionSuperseded, "")
	})
	w = f.call(t, "RollbackService", `{"ServiceArn":"`+arn+`","Number":2}`, extended)
	if out := answered[api.RollbackServiceResponse](t, w.Code, w.Body.Bytes()); out.Number != 2 || len(out.OperationID) != 36 {
		t.Errorf("rollback answered %s", w.Body)
	}
	w = f.call(t, "RollbackService", `{"ServiceArn":"`+arn+`"}`, extended)
	wantProblem(t, w.Code, w.Body.Bytes(), "InvalidStateException", "OPERATION_IN_PROGRESS")

	w = f.call(t, "CancelOperation", `{"ServiceArn":"`+arn+`"}`, extended)
	canceled := answered[api.CancelOperationResponse](t, w.Code, w.Body.Bytes())
	w = f.call(t, "CancelOperation", `{"OperationId":"`+canceled.OperationID+`"}`, extended)
	if again := answered[api.CancelOperationResponse](t, w.Code, w.Body.Bytes()); again != canceled ||
		again.ServiceARN != arn || again.Type != "START_DEPLOYMENT" {
		t.Errorf("cancel answered %+v, then %+v", canceled, again)
	}
}

func TestExtensionRefuses(t *testing.T) {
	f := newFront(t)
	unnamed := func(s *signing) { extended(s); s.r.Header.Set("X-Amz-Target", "AppRunner.ListRevisions") }
	for name, tt := range map[string]struct {
		action, body string
		edit         func(*signing)
		code, text   string
	}{
		"unknown action":    {"Reboot", `{}`, extended, "UnknownOperationException", ""},
		"other target":      {"ListRevisions", `{}`, unnamed, "UnknownOperationException", ""},
		"no service":        {"ListRevisions", `{"ServiceArn":"` + missingARN + `"}`, extended, "ResourceNotFoundException", ""},
		"no ARN":            {"ListRevisions", ``, extended, "InvalidRequestException", ""},
		"unknown member":    {"ListRevisions", `{"Arn":"x"}`, extended, "SerializationException", ""},
		"not an object":     {"ListRevisions", `[]`, extended, "SerializationException", ""},
		"more than one":     {"ListRevisions", `{}{}`, extended, "SerializationException", ""},
		"negative number":   {"RollbackService", `{"Number":-1}`, extended, "InvalidRequestException", "negative"},
		"empty page":        {"ListReasons", `{"MaxResults":0}`, extended, "InvalidRequestException", "MaxResults"},
		"made-up token":     {"ListReasons", `{"ServiceArn":"` + missingARN + `","NextToken":"x"}`, extended, "InvalidRequestException", "NextToken"},
		"cancel nothing":    {"CancelOperation", `{}`, extended, "InvalidRequestException", "Exactly one"},
		"cancel two":        {"CancelOperation", `{"ServiceArn":"x","OperationId":"y"}`, extended, "InvalidRequestException", "Exactly one"},
		"cancel unknown":    {"CancelOperation", `{"OperationId":"y"}`, extended, "ResourceNotFoundException", "Operation not found: y"},
		"signed for others": {"ListRevisions", `{}`, func(s *signing) { extended(s); s.service = "apprunner" }, "UnknownOperationException", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.call(t, tt.action, tt.body, tt.edit)
			wantProblem(t, w.Code, w.Body.Bytes(), tt.code, tt.text)
		})
	}
	w := f.call(t, "ListRevisions", `{}`, extended, func(s *signing) { s.key = "AKIADISABLED" })
	wantProblem(t, w.Code, w.Body.Bytes(), "UnrecognizedClientException", "")
}

// FuzzExtension sends any body to the actions of the extension: none may be our fault.
func FuzzExtension(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"ServiceArn":"` + missingARN + `","Number":3}`, `{"ServiceArn":1}`, `{"NextToken":""}`, `[{`} {
		f.Add(0, seed)
		f.Add(1, seed)
		f.Add(2, seed)
		f.Add(3, seed)
	}
	front := newFront(f)
	actions := []string{"ListRevisions", "RollbackService", "ListReasons", "CancelOperation"}
	f.Fuzz(func(t *testing.T, n int, body string) {
		w := front.call(t, actions[uint(n)%uint(len(actions))], body, extended)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// failedUpdate makes a service whose update was rolled back, and returns its ARN.
func (f *front) failedUpdate(t *testing.T) string {
	t.Helper()
	created := answered[api.CreateServiceResponse](t, http.StatusOK, f.call(t, "CreateService", extendedService).Body.Bytes())
	arn := created.Service.ServiceArn
	f.conclude(t, apron.OperationSucceeded, "", func(svc *apron.Service) {
		svc.Status, svc.Active, svc.Candidate = apron.ServiceRunning, svc.Candidate, ""
	})
	if w := f.call(t, "UpdateService", `{"ServiceArn":"`+arn+`","InstanceConfiguration":{"Memory":"4096"}}`); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	f.conclude(t, apron.OperationRollbackSucceeded, "It exits.", func(svc *apron.Service) {
		svc.Status, svc.Candidate = apron.ServiceRunning, ""
	})
	f.write(t, func(tx *store.Tx) error {
		if err := tx.SetRevisionOutcome(t.Context(), f.revision(t, arn, 1), apron.RevisionDeployed, ""); err != nil {
			return err
		}
		return tx.SetRevisionOutcome(t.Context(), f.revision(t, arn, 2), apron.RevisionRolledBack, "It exits.")
	})
	return arn
}

const extendedService = `{"ServiceName":"web1","SourceConfiguration":{"ImageRepository":{"ImageIdentifier":` +
	`"public.ecr.aws/nginx/nginx:1","ImageRepositoryType":"ECR_PUBLIC"}}}`

// conclude ends the open operation as a runner would.
func (f *front) conclude(t *testing.T, status apron.OperationStatus, reason string, change func(*apron.Service)) {
	t.Helper()
	lease, err := f.store.Claim(t.Context(), "test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, func(tx *store.Tx) error {
		if reason != "" {
			if err := tx.FailOperation(t.Context(), lease, reason, true); err != nil {
				return err
			}
		}
		op, err := tx.EndOperation(t.Context(), lease, status)
		if err != nil {
			return err
		}
		svc, err := tx.Service(t.Context(), op.Service)
		if err != nil {
			return err
		}
		change(&svc)
		return tx.UpdateService(t.Context(), svc)
	})
}

// revision returns the id of the service's revision with the number.
func (f *front) revision(t *testing.T, arn string, number int) apron.RevisionID {
	t.Helper()
	a, err := apron.ParseARN(arn)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.store.Revisions(t.Context(), apron.ServiceID(a.ID))
	if err != nil || len(list) < number {
		t.Fatalf("%v, %v", list, err)
	}
	return list[number-1].ID
}

func (f *front) write(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := f.store.Tx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// wantProblem checks an answer that refuses.
func wantProblem(t *testing.T, code int, body []byte, name, text string) {
	t.Helper()
	var p struct {
		Type    string `json:"__type"`
		Message string
	}
	if err := json.Unmarshal(body, &p); err != nil || code < 400 || p.Type != name || !strings.Contains(p.Message, text) {
		t.Errorf("%d %s, want %s with %q", code, body, name, text)
	}
}
