package control_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// past adds revisions to the service: one that has served, one that failed, and the one that serves.
func (l *lifecycle) past(t *testing.T, config apron.ServiceConfiguration) {
	t.Helper()
	l.tx(t, func(tx *store.Tx) error {
		for _, rev := range []apron.Revision{
			{ID: "old", Config: config, Image: apron.Image{Reference: "example.com/web@sha256:0", Digest: "sha256:0"}},
			{ID: "bad", Config: config},
			{ID: "now", Config: l.service(t).Config, Image: servingImage()},
		} {
			rev.Service = l.id
			if _, err := tx.InsertRevision(t.Context(), rev); err != nil {
				return err
			}
		}
		for id, outcome := range map[apron.RevisionID]apron.RevisionOutcome{
			"old": apron.RevisionSuperseded, "bad": apron.RevisionRolledBack, "now": apron.RevisionDeployed,
		} {
			if err := tx.SetRevisionOutcome(t.Context(), id, outcome, ""); err != nil {
				return err
			}
		}
		return nil
	})
	l.write(t, func(svc *apron.Service) { svc.Active = "now" })
}

func TestRollbackService(t *testing.T) {
	for _, number := range []int{0, 2} {
		l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
		config := l.service(t).Config
		config.HealthCheck.Path, config.Network.VPCConnector = "/old", "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/gone/1/0123456789abcdef0123456789abcdef"
		l.past(t, config)
		op, from, err := l.RollbackService(t.Context(), l.scope, l.arn, number)
		if err != nil || from != 2 {
			t.Fatalf("rollback to %d: %d, %v", number, from, err)
		}
		after := l.service(t)
		l.wantBegun(t, op, apron.OperationStartDeployment, after.Candidate)
		rev := l.revision(t, after.Candidate)
		if rev.CopyOf != 2 || rev.Image.Digest != "sha256:0" || rev.Outcome != apron.RevisionPending {
			t.Errorf("revision is %+v", rev)
		}
		config.Network.VPCConnector = "" // it is gone: what the service has now counts
		if diff := cmp.Diff(config, rev.Config) + cmp.Diff(config, after.Config); diff != "" {
			t.Errorf("configuration (-want +got):\n%s", diff)
		}
	}
}

func TestRollbackServiceRefuses(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	_, _, err := l.RollbackService(t.Context(), l.scope, l.arn, 0)
	wantRefusal(t, err, apron.Invalid, "Service web has no earlier revision to go back to.")
	l.past(t, l.service(t).Config)
	before := l.service(t)
	for number, want := range map[int]string{
		3: "Revision 3 of service web has never served: its deployment failed.",
		4: "Revision 4 of service web is the one that serves.",
		9: "Service web has no revision 9 in its history.",
	} {
		_, _, err := l.RollbackService(t.Context(), l.scope, l.arn, number)
		wantRefusal(t, err, apron.Invalid, want)
	}
	l.wantUntouched(t, before)
	list, svc, err := l.Revisions(t.Context(), l.scope, l.arn)
	if err != nil || len(list) != 4 || svc.Active != "now" {
		t.Errorf("revisions %+v of %+v, %v", list, svc, err)
	}
}
