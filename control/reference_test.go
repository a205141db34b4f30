package control_test

import (
	"testing"

	"apron"
	"apron/control"
)

// What a new service names must be there, in the scope, and usable.
func TestReferences(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		foreign := d.elsewhere()
		theirs, err := foreign.CreateVPCConnector(ctx, foreign.scope, control.NewVPCConnector{Name: "network", Subnets: []string{"subnet-1"}})
		ok(t, err)
		pending, err := d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "pending", Provider: "GITHUB"})
		ok(t, err)
		asc := d.scaling(t, "web1").ARN
		base := d.running(t, "base", nil).Config
		const missing = "0123456789abcdef0123456789abcdef"
		prefix := "arn:aws:apprunner:us-east-1:123456789012:"
		trace := func(arn string) func(*apron.ServiceConfiguration) {
			return func(c *apron.ServiceConfiguration) {
				c.Observability = &apron.ServiceObservability{Enabled: true, Configuration: arn}
			}
		}
		for _, tc := range []struct {
			scaling string
			change  func(*apron.ServiceConfiguration)
			kind    apron.FaultKind
			text    string
		}{
			{scaling: prefix + "autoscalingconfiguration/none", kind: apron.NotFound, text: "none"},
			{scaling: prefix + "autoscalingconfiguration/web1/1/" + missing, kind: apron.NotFound, text: missing},
			{scaling: prefix + "service/web1/" + asc.ID, kind: apron.Invalid, text: "Invalid ARN"},
			{change: trace(prefix + "observabilityconfiguration/none"), kind: apron.NotFound, text: "none"},
			{change: func(c *apron.ServiceConfiguration) { c.Network.VPCConnector = theirs.ARN.String() }, kind: apron.NotFound, text: theirs.ARN.ID},
			{change: func(c *apron.ServiceConfiguration) { c.Network.VPCConnector = prefix + "vpcconnector/network" }, kind: apron.Invalid, text: "ARN"},
			{change: func(c *apron.ServiceConfiguration) { c.Source.ConnectionARN = prefix + "connection/none/" + missing }, kind: apron.NotFound, text: missing},
			{change: func(c *apron.ServiceConfiguration) { c.Source.ConnectionARN = pending.ARN.String() }, kind: apron.Invalid, text: "PENDING_HANDSHAKE"},
			{change: func(c *apron.ServiceConfiguration) {
				c.Source = codeConfiguration().Source
				c.Source.ConnectionARN = ""
				// These do not count and are kept all the same.
				c.Source.Code.ConfigurationSource, c.Source.Code.Values.Run.Env = "REPOSITORY", map[string]string{"A": "\x00"}
			}, kind: apron.Invalid, text: "U+0000"},
			{change: func(c *apron.ServiceConfiguration) {
				i := *c.Source.Image
				i.Run.StartCommand = "a\x00b"
				c.Source.Image = &i
			}, kind: apron.Invalid, text: "U+0000"},
		} {
			config := base
			if tc.change != nil {
				tc.change(&config)
			}
			_, _, err := d.CreateService(ctx, d.scope, control.NewService{Name: "web1", Config: config, AutoScalingARN: tc.scaling})
			refused(t, err, tc.kind, tc.text)
		}
		config := base
		trace("")(&config)
		config.AutoScaling = apron.ARN{}
		view, _, err := d.CreateService(ctx, d.scope, control.NewService{Name: "web1", Config: config, AutoScalingARN: prefix + "autoscalingconfiguration/web1"})
		ok(t, err)
		if view.Config.AutoScaling != asc || !view.AutoScaling.InUse {
			t.Errorf("auto scaling %+v", view.AutoScaling)
		}
		if got, want := view.Config.Observability.Configuration, apron.DefaultObservability(d.scope).ARN.String(); got != want {
			t.Errorf("observability %s, want %s", got, want)
		}
		_, _, err = d.CreateService(ctx, d.scope, control.NewService{Name: "web2", Config: base})
		refused(t, err, apron.Quota, "2 services")
	}, func(c *control.Config) { c.Quotas = apron.Quotas{Services: 2} })
}
