package control_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/store"
	"apron/store/storetest"
)

func TestUpdateService(t *testing.T) {
	memory := control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}}
	source := control.ServicePatch{Source: &control.SourcePatch{AutoDeployments: new(bool)}}
	tests := map[string]struct {
		status apron.ServiceStatus
		patch  control.ServicePatch
		image  apron.Image // of the new revision
	}{
		"a configuration keeps the image":          {apron.ServiceRunning, memory, servingImage()},
		"a source asks for the newest image":       {apron.ServiceRunning, source, apron.Image{}},
		"a failed service is built with changes":   {apron.ServiceCreateFailed, memory, apron.Image{}},
		"a failed service is built without change": {apron.ServiceCreateFailed, control.ServicePatch{}, apron.Image{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				l := newLifecycle(t, s, tt.status, nil)
				before := l.service(t)
				want, _, err := control.Merge(before.Config, tt.patch)
				if err != nil {
					t.Fatal(err)
				}
				view, op, err := l.UpdateService(t.Context(), l.scope, l.arn, tt.patch, nil)
				if err != nil {
					t.Fatal(err)
				}
				after := l.service(t)
				l.wantBegun(t, op, apron.OperationUpdate, after.Candidate)
				if diff := cmp.Diff(after, view.Service); diff != "" {
					t.Errorf("the answer is not what the store has (-store +answer):\n%s", diff)
				}
				if diff := cmp.Diff(want, after.Config); diff != "" {
					t.Errorf("configuration (-want +got):\n%s", diff)
				}
				if after.Active != before.Active || after.Candidate == "" || after.Candidate == after.Active {
					t.Errorf("active %q, candidate %q, before %q", after.Active, after.Candidate, before.Active)
				}
				rev := l.revision(t, after.Candidate)
				if diff := cmp.Diff(want, rev.Config); diff != "" || rev.Image != tt.image {
					t.Errorf("revision has image %+v and configuration (-want +got):\n%s", rev.Image, diff)
				}
			})
		})
	}
}

// O8: what Describe answers is accepted by UpdateService as it is and changes nothing.
func TestUpdateServiceWithItsDescription(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	before, err := l.Service(t.Context(), l.scope, l.arn)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := l.UpdateService(t.Context(), l.scope, l.arn, patchOf(before.Config), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Config, after.Config); diff != "" {
		t.Errorf("configuration (-before +after):\n%s", diff)
	}
}

func TestUpdateServiceResolvesNames(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	asc := apron.AutoScalingConfiguration{
		ARN:            apron.ARN{Scope: l.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "high", Revision: 2, ID: "00"},
		MaxConcurrency: 10, MinSize: 2, MaxSize: 3, Latest: true,
	}
	l.tx(t, func(tx *store.Tx) error { return tx.InsertAutoScalingConfiguration(t.Context(), asc) })
	view, _, err := l.UpdateService(t.Context(), l.scope, l.arn, control.ServicePatch{
		AutoScalingARN: apron.ARN{Scope: l.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "high"}.String(),
		Observability:  &apron.ServiceObservability{Enabled: true},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if view.Config.AutoScaling != asc.ARN || view.AutoScaling.ARN != asc.ARN {
		t.Errorf("auto scaling is %s, shown as %s; want %s", view.Config.AutoScaling, view.AutoScaling.ARN, asc.ARN)
	}
	if view.Config.Observability.Configuration == "" {
		t.Error("observability was not resolved to a configuration")
	}
}

func TestUpdateServiceRefuses(t *testing.T) {
	memory := control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}}
	const state = "Service cannot be updated in the current state: "
	tests := map[string]struct {
		status apron.ServiceStatus
		config func(*apron.ServiceConfiguration)
		patch  control.ServicePatch
		kind   apron.FaultKind
		want   string
	}{
		"while an operation runs": {status: apron.ServiceOperationInProgress, patch: memory, kind: apron.State, want: state + "OPERATION_IN_PROGRESS."},
		"paused":                  {status: apron.ServicePaused, patch: memory, kind: apron.State, want: state + "PAUSED."},
		"deleted":                 {status: apron.ServiceDeleted, patch: memory, kind: apron.State, want: state + "DELETED."},
		"delete failed":           {status: apron.ServiceDeleteFailed, patch: memory, kind: apron.State, want: state + "DELETE_FAILED."},
		"nothing sent": {
			status: apron.ServiceRunning, kind: apron.Invalid, want: "No configurations provided in the UpdateService request.",
		},
		"from file to API on a failed service": {
			status: apron.ServiceCreateFailed,
			config: func(c *apron.ServiceConfiguration) {
				*c = codeConfiguration()
				c.Source.Code.ConfigurationSource, c.Source.Code.Values = "REPOSITORY", nil
			},
			patch: patchOf(codeConfiguration()),
			kind:  apron.Invalid, want: "ConfigurationSource cannot be changed from REPOSITORY to API for CREATE_FAILED services.",
		},
		"an unknown auto scaling configuration": {
			status: apron.ServiceRunning,
			patch:  control.ServicePatch{AutoScalingARN: "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/none"},
			kind:   apron.NotFound, want: "Resource not found: arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/none",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLifecycle(t, storetest.Open(t), tt.status, tt.config)
			before := l.service(t)
			_, _, err := l.UpdateService(t.Context(), l.scope, l.arn, tt.patch, nil)
			wantRefusal(t, err, tt.kind, tt.want)
			l.wantUntouched(t, before)
		})
	}
}

func TestUpdateServiceAsksTheCheck(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	before := l.service(t)
	var seen apron.ServiceConfiguration
	_, _, err := l.UpdateService(t.Context(), l.scope, l.arn,
		control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(3072)}},
		func(c apron.ServiceConfiguration) error {
			seen = c
			return apron.Faultf(apron.Invalid, "no")
		})
	wantRefusal(t, err, apron.Invalid, "no")
	if seen.Instance.MemoryMiB != 3072 || seen.Instance.MilliCPU != 1000 {
		t.Errorf("the check saw %+v, want the merged configuration", seen.Instance)
	}
	l.wantUntouched(t, before)
}
