package control_test

import (
	"testing"

	"apron"
	"apron/control"
	"apron/store/storetest"
)

// moves is what each action does to a service in each state (reference: developer guide, "service
// statuses"; the error sets of the actions): the type of the operation it begins, nothing for one that
// succeeds without, or a refusal.
func moves() []move {
	const (
		cannot    = "Service cannot be "
		inState   = " in the current state: "
		domains   = "Custom domains of a service cannot be changed" + inState
		cannotRun = "Can't start a deployment on the specified service, because it isn't in RUNNING state"
	)
	memory := control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}}
	begins := func(t apron.OperationType, states ...apron.ServiceStatus) map[apron.ServiceStatus]apron.OperationType {
		m := map[apron.ServiceStatus]apron.OperationType{}
		for _, s := range states {
			m[s] = t
		}
		return m
	}
	always := begins("", apron.ServiceCreateFailed, apron.ServiceRunning, apron.ServiceDeleted, apron.ServiceDeleteFailed,
		apron.ServicePaused, apron.ServiceOperationInProgress)
	unlessDeleted := begins("", apron.ServiceCreateFailed, apron.ServiceRunning, apron.ServiceDeleteFailed,
		apron.ServicePaused, apron.ServiceOperationInProgress)
	paused := begins(apron.OperationPause, apron.ServiceRunning)
	paused[apron.ServicePaused] = ""
	resumed := begins(apron.OperationResume, apron.ServicePaused)
	resumed[apron.ServiceRunning] = ""
	return []move{
		{
			"UpdateService", begins(apron.OperationUpdate, apron.ServiceRunning, apron.ServiceCreateFailed), apron.State, cannot + "updated" + inState,
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.UpdateService(t.Context(), l.scope, l.arn, memory, nil)
				return err
			},
		},
		{
			"StartDeployment", begins(apron.OperationStartDeployment, apron.ServiceRunning), apron.Invalid, cannotRun,
			func(t *testing.T, l *lifecycle) error {
				_, err := l.StartDeployment(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"PauseService", paused, apron.State, cannot + "paused" + inState,
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.PauseService(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"ResumeService", resumed, apron.State, cannot + "resumed" + inState,
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.ResumeService(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"DeleteService", begins(apron.OperationDelete, apron.ServiceRunning, apron.ServicePaused, apron.ServiceCreateFailed, apron.ServiceDeleteFailed),
			apron.State, cannot + "deleted" + inState,
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.DeleteService(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"RollbackService", begins(apron.OperationStartDeployment, apron.ServiceRunning), apron.State, cannot + "rolled back" + inState,
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.RollbackService(t.Context(), l.scope, l.arn, 2)
				return err
			},
		},
		{
			"CancelOperation", nil, apron.State, "Service web has no operation in progress.",
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.CancelOperation(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"AssociateCustomDomain", begins("", apron.ServiceRunning), apron.State, domains,
			func(t *testing.T, l *lifecycle) error {
				_, err := l.AssociateCustomDomain(t.Context(), l.scope, l.arn, "www.example.org", false)
				return err
			},
		},
		{
			"DisassociateCustomDomain", nil, apron.State, domains,
			func(t *testing.T, l *lifecycle) error {
				_, err := l.DisassociateCustomDomain(t.Context(), l.scope, l.arn, "www.example.org")
				return err
			},
		},
		{
			"TagResource", unlessDeleted, apron.NotFound, "",
			func(t *testing.T, l *lifecycle) error {
				return l.TagResource(t.Context(), l.scope, l.arn, []apron.Tag{{Key: "team", Value: "web"}})
			},
		},
		{
			"UntagResource", unlessDeleted, apron.NotFound, "",
			func(t *testing.T, l *lifecycle) error {
				return l.UntagResource(t.Context(), l.scope, l.arn, []string{"team"})
			},
		},
		{
			"ListTagsForResource", unlessDeleted, apron.NotFound, "",
			func(t *testing.T, l *lifecycle) error {
				_, err := l.Tags(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"DescribeService", always, 0, "",
			func(t *testing.T, l *lifecycle) error {
				_, err := l.Service(t.Context(), l.scope, l.arn)
				return err
			},
		},
		{
			"ListOperations", always, 0, "",
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.Operations(t.Context(), l.scope, l.arn, control.Page{})
				return err
			},
		},
		{
			"ListRevisions", always, 0, "",
			func(t *testing.T, l *lifecycle) error {
				_, _, err := l.Revisions(t.Context(), l.scope, l.arn)
				return err
			},
		},
	}
}

// move is one action in all states.
type move struct {
	action string
	// begins has the states in which the action succeeds, with the type of the operation it begins.
	begins map[apron.ServiceStatus]apron.OperationType
	// fault and text are what it is refused with in the others, but for what refusal knows. A text that
	// ends with a space is followed by the state.
	fault apron.FaultKind
	text  string
	do    func(*testing.T, *lifecycle) error
}

// refusal returns what the action is refused with in the state.
func (m move) refusal(l *lifecycle, s apron.ServiceStatus) (apron.FaultKind, string) {
	switch {
	case m.fault == apron.NotFound,
		s == apron.ServiceDeleted && (m.action == "DeleteService" || m.action == "AssociateCustomDomain" || m.action == "DisassociateCustomDomain"):
		return apron.NotFound, "Resource not found: " + l.arn
	case m.action == "DisassociateCustomDomain" && s == apron.ServiceRunning:
		return apron.Invalid, "No custom domain www.example.org found for the provided service"
	case m.text[len(m.text)-1] == ' ':
		return m.fault, m.text + string(s) + "."
	default:
		return m.fault, m.text
	}
}

// TestEveryMove walks every pair of a state and an action: what is legal begins its operation and no
// other, what is not is refused with the action's own error and writes nothing.
func TestEveryMove(t *testing.T) {
	for _, m := range moves() {
		for _, status := range []apron.ServiceStatus{
			apron.ServiceCreateFailed, apron.ServiceRunning, apron.ServiceDeleted, apron.ServiceDeleteFailed,
			apron.ServicePaused, apron.ServiceOperationInProgress,
		} {
			t.Run(m.action+"/"+string(status), func(t *testing.T) {
				t.Parallel()
				l := newLifecycle(t, storetest.Open(t), status, nil)
				if status == apron.ServiceRunning && m.action == "RollbackService" {
					l.past(t, l.service(t).Config)
				}
				before := l.service(t)
				err := m.do(t, l)
				want, legal := m.begins[status]
				if !legal {
					kind, text := m.refusal(l, status)
					wantRefusal(t, err, kind, text)
					l.wantUntouched(t, before)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					l.wantUntouched(t, before)
					return
				}
				list, _, err := l.store.Operations(t.Context(), l.id, "", 0)
				if err != nil || len(list) != 2 {
					t.Fatalf("operations %+v, %v", list, err)
				}
				l.wantBegun(t, list[0].ID, want, list[0].Revision)
			})
		}
	}
}
