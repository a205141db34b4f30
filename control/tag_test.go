package control_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

// T95: tags on every type of resource, from its creation to its deletion.
func TestTags(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		given := []apron.Tag{{Key: "team", Value: "a"}}
		svc, _, err := d.CreateService(ctx, d.scope, control.NewService{Name: "web1", Config: d.running(t, "other", private).Config, Tags: given})
		ok(t, err)
		running := d.become(t, svc.Service, apron.ServiceRunning)
		conn, err := d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "github", Tags: given})
		ok(t, err)
		asc, err := d.CreateAutoScalingConfiguration(ctx, d.scope, control.NewAutoScalingConfiguration{Name: "web1", Tags: given})
		ok(t, err)
		obs, err := d.CreateObservabilityConfiguration(ctx, d.scope, control.NewObservabilityConfiguration{Name: "xray", Tags: given})
		ok(t, err)
		connector, err := d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network", Subnets: []string{"subnet-1"}, Tags: given})
		ok(t, err)
		in := newIngress("ingress", running)
		in.Tags = given
		v, err := d.CreateVPCIngressConnection(ctx, d.scope, in)
		ok(t, err)
		d.advance(t)

		arns := []apron.ARN{v.ARN, running.ARN(), conn.ARN, asc.ARN, obs.ARN, connector.ARN}
		for _, arn := range arns {
			d.wantTags(t, arn, apron.Tag{Key: "team", Value: "a"})
			ok(t, d.TagResource(ctx, d.scope, arn.String(), []apron.Tag{{Key: "z"}, {Key: "team", Value: "b"}, {Key: "b", Value: "1"}}))
			d.wantTags(t, arn, apron.Tag{Key: "team", Value: "b"}, apron.Tag{Key: "z"}, apron.Tag{Key: "b", Value: "1"})
			ok(t, d.UntagResource(ctx, d.scope, arn.String(), []string{"z", "none"}))
			d.wantTags(t, arn, apron.Tag{Key: "team", Value: "b"}, apron.Tag{Key: "b", Value: "1"})
			refused(t, d.TagResource(ctx, d.elsewhere().scope, arn.String(), given), apron.NotFound, arn.String())
		}

		_, err = d.DeleteVPCIngressConnection(ctx, d.scope, v.ARN.String())
		ok(t, err)
		d.advance(t)
		d.become(t, running, apron.ServiceDeleted)
		_, err = d.DeleteConnection(ctx, d.scope, conn.ARN.String())
		ok(t, err)
		_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, asc.ARN.String(), false)
		ok(t, err)
		_, err = d.DeleteObservabilityConfiguration(ctx, d.scope, obs.ARN.String())
		ok(t, err)
		_, err = d.DeleteVPCConnector(ctx, d.scope, connector.ARN.String())
		ok(t, err)
		for _, arn := range arns {
			_, err := d.Tags(ctx, d.scope, arn.String())
			refused(t, err, apron.NotFound, arn.String())
			refused(t, d.TagResource(ctx, d.scope, arn.String(), given), apron.NotFound, arn.String())
			refused(t, d.UntagResource(ctx, d.scope, arn.String(), []string{"team"}), apron.NotFound, arn.String())
		}
		n, err := d.store.PurgeConfigurations(ctx, d.clock.now())
		if err != nil || n != len(arns)-1 { // services are purged elsewhere
			t.Errorf("purged %d, %v", n, err)
		}
		if tags, err := d.store.Tags(ctx, conn.ARN); err != nil || len(tags) != 0 {
			t.Errorf("tags of a purged connection: %v, %v", tags, err)
		}
	})
}

func (d *desk) wantTags(t *testing.T, arn apron.ARN, want ...apron.Tag) {
	t.Helper()
	got, err := d.Tags(t.Context(), d.scope, arn.String())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("tags of %s (-want +got), %v:\n%s", arn, err, diff)
	}
}

func TestTagRefusals(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		asc := d.scaling(t, "web1").ARN
		full := make([]apron.Tag, apron.MaxTags)
		for i := range full {
			full[i].Key = fmt.Sprintf("key-%d", i)
		}
		for _, tc := range []struct {
			arn  string
			tags []apron.Tag
			kind apron.FaultKind
			text string
		}{
			{asc.String(), []apron.Tag{{Key: "a"}, {Key: "a"}}, apron.Invalid, "Duplicate tag key: a"},
			{asc.String(), []apron.Tag{{Key: "apron:colour"}}, apron.Invalid, "Unknown tag key: apron:colour"},
			{asc.String(), append(full, apron.Tag{Key: "more"}), apron.Invalid, "at most 50 tags"},
			{"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/web1", full, apron.Invalid, "full ARN"},
			{"arn:aws:apprunner:us-east-1:123456789012:cluster/web1", full, apron.Invalid, "Invalid ARN"},
			{"arn:aws:apprunner:us-east-1:123456789012:service/web1/" + asc.ID, full, apron.NotFound, asc.ID},
		} {
			refused(t, d.TagResource(ctx, d.scope, tc.arn, tc.tags), tc.kind, tc.text)
		}
		d.wantTags(t, asc)
		ok(t, d.TagResource(ctx, d.scope, asc.String(), full))
		ok(t, d.TagResource(ctx, d.scope, asc.String(), full[:1]))
		refused(t, d.TagResource(ctx, d.scope, asc.String(), []apron.Tag{{Key: "more"}}), apron.Invalid, "at most 50 tags")
		d.wantTags(t, asc, full...)
		_, _, err := d.CreateService(ctx, d.scope, control.NewService{Name: "web1", Tags: []apron.Tag{{Key: "apron:colour"}}})
		refused(t, err, apron.Invalid, "Unknown tag key")
	})
}
