package control_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

// scaling makes one revision with everything left to its default.
func (d *desk) scaling(t *testing.T, name string) apron.AutoScalingConfiguration {
	t.Helper()
	asc, err := d.CreateAutoScalingConfiguration(t.Context(), d.scope, control.NewAutoScalingConfiguration{Name: name})
	ok(t, err)
	return asc
}

// scalings lists configurations as name/revision, with L for the latest, D for the default and U for
// one in use.
func (d *desk) scalings(t *testing.T, name string, latestOnly *bool) []string {
	t.Helper()
	list, _, err := d.AutoScalingConfigurations(t.Context(), d.scope, name, latestOnly, control.Page{})
	ok(t, err)
	return shortScalings(list)
}

func shortScalings(list []apron.AutoScalingConfiguration) []string {
	out := []string{}
	for _, c := range list {
		s := fmt.Sprintf("%s/%d", c.ARN.Name, c.ARN.Revision)
		if c.Latest {
			s += " L"
		}
		if c.Default {
			s += " D"
		}
		if c.InUse {
			s += " U"
		}
		out = append(out, s)
	}
	return out
}

func (d *desk) wantScalings(t *testing.T, want ...string) {
	t.Helper()
	all := false
	if diff := cmp.Diff(want, d.scalings(t, "", &all)); diff != "" {
		t.Errorf("configurations (-want +got):\n%s", diff)
	}
}

// T30-T35: revision numbers, defaults, latest, reuse of numbers.
func TestScalingRevisions(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		first := d.scaling(t, "high")
		want := apron.AutoScalingConfiguration{
			ARN:            apron.ARN{Scope: d.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "high", Revision: 1, ID: first.ARN.ID},
			MaxConcurrency: 100, MinSize: 1, MaxSize: 25, Latest: true, CreatedAt: first.CreatedAt,
		}
		if diff := cmp.Diff(want, first); diff != "" || first.CreatedAt.IsZero() || len(first.ARN.ID) != 32 {
			t.Errorf("first revision (-want +got):\n%s", diff)
		}
		second := d.scaling(t, "high")
		d.wantScalings(t, "DefaultConfiguration/1 L D", "high/2 L", "high/1")

		deleted, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, second.ARN.String(), false)
		ok(t, err)
		if deleted.Active() || deleted.Latest || deleted.ARN != second.ARN {
			t.Errorf("deleted: %+v", deleted)
		}
		d.wantScalings(t, "DefaultConfiguration/1 L D", "high/1 L")
		again := d.scaling(t, "high")
		if again.ARN.Revision != 2 || again.ARN.ID == second.ARN.ID {
			t.Errorf("revision after deletion of 2: %s", again.ARN)
		}
		shown, err := d.AutoScalingConfiguration(ctx, d.scope, second.ARN.String())
		ok(t, err)
		if diff := cmp.Diff(deleted, shown); diff != "" {
			t.Errorf("deleted revision by its full ARN (-deleted +shown):\n%s", diff)
		}
		_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, second.ARN.String(), false)
		refused(t, err, apron.NotFound, second.ARN.String())

		name := apron.ARN{Scope: d.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "high"}
		for range 2 { // in part: the latest, then the one before
			_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, name.String(), false)
			ok(t, err)
		}
		if asc := d.scaling(t, "high"); asc.ARN.Revision != 1 {
			t.Errorf("revision after deletion of all: %s", asc.ARN)
		}
		d.wantScalings(t, "DefaultConfiguration/1 L D", "high/1 L")
	})
}

func TestScalingARNs(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		one, two := d.scaling(t, "web1").ARN, d.scaling(t, "web1").ARN
		prefix := "arn:aws:apprunner:us-east-1:123456789012:"
		for _, tc := range []struct {
			arn  string
			want string
			kind apron.FaultKind
		}{
			{arn: prefix + "autoscalingconfiguration/web1", want: two.String()},
			{arn: prefix + "autoscalingconfiguration/web1/1", want: one.String()},
			{arn: one.String(), want: one.String()},
			{arn: prefix + "autoscalingconfiguration/DefaultConfiguration", want: prefix + "autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"},
			{arn: prefix + "autoscalingconfiguration/DefaultConfiguration/1", want: prefix + "autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"},
			{arn: prefix + "autoscalingconfiguration/web1/3", kind: apron.NotFound},
			{arn: prefix + "autoscalingconfiguration/web2", kind: apron.NotFound},
			{arn: prefix + "autoscalingconfiguration/web2/1/" + one.ID, kind: apron.NotFound},
			{arn: prefix + "autoscalingconfiguration/web1/1/0000000000000000000000000000000000", kind: apron.NotFound},
			{arn: "arn:aws:apprunner:eu-west-1:123456789012:autoscalingconfiguration/web1/1/" + one.ID, kind: apron.NotFound},
			{arn: prefix + "service/web1/" + one.ID, kind: apron.Invalid},
			{arn: "web1", kind: apron.Invalid},
		} {
			got, err := d.AutoScalingConfiguration(t.Context(), d.scope, tc.arn)
			if apron.KindOf(err) != tc.kind || err == nil && got.ARN.String() != tc.want {
				t.Errorf("%s: got %s, %v; want %s, %s", tc.arn, got.ARN, err, tc.want, tc.kind)
			}
		}
	})
}

// W8, T36: what LatestOnly shows.
func TestScalingLatestOnly(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		old := d.scaling(t, "web1")
		d.scaling(t, "web1")
		d.scaling(t, "web2")
		_, err := d.UpdateDefaultAutoScalingConfiguration(t.Context(), d.scope, old.ARN.String())
		ok(t, err)
		yes, no := true, false
		for _, tc := range []struct {
			name   string
			latest *bool
			want   []string
		}{
			{"", nil, []string{"DefaultConfiguration/1 L", "web1/2 L", "web1/1 D", "web2/1 L"}},
			{"", &yes, []string{"DefaultConfiguration/1 L", "web1/2 L", "web2/1 L"}},
			{"", &no, []string{"DefaultConfiguration/1 L", "web1/2 L", "web1/1 D", "web2/1 L"}},
			{"web1", &yes, []string{"web1/2 L"}},
			{"web1", nil, []string{"web1/2 L", "web1/1 D"}},
			{"DefaultConfiguration", nil, []string{"DefaultConfiguration/1 L"}},
			{"web3", nil, []string{}},
		} {
			if diff := cmp.Diff(tc.want, d.scalings(t, tc.name, tc.latest)); diff != "" {
				t.Errorf("name %q, latest %v (-want +got):\n%s", tc.name, tc.latest, diff)
			}
		}
	})
}

// The configuration a scope starts with has no row until something about it changes.
func TestScalingInitial(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		initial := apron.DefaultAutoScaling(d.scope).ARN.String()
		_, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, initial, false)
		refused(t, err, apron.Invalid, "is the default")

		second := d.scaling(t, apron.DefaultConfigurationName)
		d.wantScalings(t, "DefaultConfiguration/2 L", "DefaultConfiguration/1 D")
		asc, err := d.UpdateDefaultAutoScalingConfiguration(ctx, d.scope, second.ARN.String())
		ok(t, err)
		if !asc.Default {
			t.Error("the new default does not say so")
		}
		d.wantScalings(t, "DefaultConfiguration/2 L D", "DefaultConfiguration/1")
		_, err = d.UpdateDefaultAutoScalingConfiguration(ctx, d.scope, initial)
		ok(t, err)
		d.wantScalings(t, "DefaultConfiguration/2 L", "DefaultConfiguration/1 D")

		_, err = d.UpdateDefaultAutoScalingConfiguration(ctx, d.scope, second.ARN.String())
		ok(t, err)
		_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, initial, false)
		ok(t, err)
		d.wantScalings(t, "DefaultConfiguration/2 L D")
		_, err = d.UpdateDefaultAutoScalingConfiguration(ctx, d.scope, initial)
		refused(t, err, apron.NotFound, initial)
		d.wantScalings(t, "DefaultConfiguration/2 L D")
		shown, err := d.AutoScalingConfiguration(ctx, d.scope, initial)
		if err != nil || shown.Active() || shown.Latest || shown.Default {
			t.Errorf("deleted initial configuration: %+v, %v", shown, err)
		}
		n, err := d.store.PurgeConfigurations(ctx, d.clock.now())
		if err != nil || n != 0 {
			t.Errorf("purged %d, %v: the initial configuration must stay deleted", n, err)
		}
		d.wantScalings(t, "DefaultConfiguration/2 L D")
		// Another scope is not touched.
		d.elsewhere().wantScalings(t, "DefaultConfiguration/1 L D")
	})
}

func TestScalingInUse(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		asc := d.scaling(t, "web1")
		use := func(c *apron.ServiceConfiguration) { c.AutoScaling = asc.ARN }
		a, b := d.running(t, "service-a", use), d.running(t, "service-b", use)
		d.wantScalings(t, "DefaultConfiguration/1 L D", "web1/1 L U")
		_, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, asc.ARN.String(), false)
		refused(t, err, apron.Invalid, "in use")

		page := control.Page{Limit: 1}
		var got []apron.ARN
		for i := 0; i == 0 || page.After != ""; i++ {
			list, next, err := d.ServicesForAutoScalingConfiguration(ctx, d.scope, "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/web1", page)
			ok(t, err)
			got, page.After = append(got, list...), next
		}
		if diff := cmp.Diff([]apron.ARN{a.ARN(), b.ARN()}, got); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
		_, _, err = d.ServicesForAutoScalingConfiguration(ctx, d.scope, "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/web2", page)
		refused(t, err, apron.NotFound, "web2")

		d.become(t, a, apron.ServiceDeleted)
		d.wantScalings(t, "DefaultConfiguration/1 L D", "web1/1 L U")
		// An update to another configuration may be rolled back as long as it runs.
		b.Config.AutoScaling = apron.DefaultAutoScaling(d.scope).ARN
		b = d.become(t, b, apron.ServiceOperationInProgress)
		d.wantScalings(t, "DefaultConfiguration/1 L D U", "web1/1 L U")
		d.become(t, b, apron.ServiceRunning)
		d.wantScalings(t, "DefaultConfiguration/1 L D U", "web1/1 L")
		_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, asc.ARN.String(), false)
		ok(t, err)
	})
}

// O4, and the shape of the answer.
func TestScalingDeleteAll(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		used := d.scaling(t, "web1")
		d.scaling(t, "web1")
		name := apron.ARN{Scope: d.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "web1"}
		const text = "You cannot specify full auto scaling configuration ARN and DeleteAllRevisions as true at same time"
		for _, arn := range []string{used.ARN.String(), name.String() + "/1"} {
			_, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, arn, true)
			refused(t, err, apron.Invalid, text)
		}
		svc := d.running(t, "service-a", func(c *apron.ServiceConfiguration) { c.AutoScaling = used.ARN })
		_, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, name.String(), true)
		refused(t, err, apron.Invalid, "in use")
		d.wantScalings(t, "DefaultConfiguration/1 L D", "web1/2 L", "web1/1 U")
		d.become(t, svc, apron.ServiceDeleted)
		deleted, err := d.DeleteAutoScalingConfiguration(ctx, d.scope, name.String(), true)
		ok(t, err)
		want := apron.AutoScalingConfiguration{ARN: name, DeletedAt: deleted.DeletedAt}
		if diff := cmp.Diff(want, deleted); diff != "" || deleted.Active() {
			t.Errorf("deleted (-want +got):\n%s", diff)
		}
		d.wantScalings(t, "DefaultConfiguration/1 L D")
		_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, name.String(), true)
		refused(t, err, apron.NotFound, "web1")
	})
}

func TestScalingRefusals(t *testing.T) {
	quotas := func(c *control.Config) {
		c.Quotas = apron.Quotas{AutoScalingConfigurations: 2, AutoScalingRevisions: 2, MaxSize: 30}
	}
	eachDesk(t, func(t *testing.T, d *desk) {
		d.scaling(t, "web1")
		d.scaling(t, "web1")
		d.scaling(t, "web2")
		for _, tc := range []struct {
			in   control.NewAutoScalingConfiguration
			kind apron.FaultKind
			text string
		}{
			{control.NewAutoScalingConfiguration{Name: "web2", MinSize: 3, MaxSize: 2}, apron.Invalid, "MinSize"},
			{control.NewAutoScalingConfiguration{Name: "web2", MaxSize: 31}, apron.Quota, "MaxSize"},
			{control.NewAutoScalingConfiguration{Name: "web1"}, apron.Quota, "2 active revisions"},
			{control.NewAutoScalingConfiguration{Name: "web3"}, apron.Quota, "2 auto scaling configurations"},
			{control.NewAutoScalingConfiguration{Name: "web2", Tags: []apron.Tag{{Key: "a"}, {Key: "a"}}}, apron.Invalid, "Duplicate tag key"},
		} {
			_, err := d.CreateAutoScalingConfiguration(t.Context(), d.scope, tc.in)
			refused(t, err, tc.kind, tc.text)
		}
		d.wantScalings(t, "DefaultConfiguration/1 L D", "web1/2 L", "web1/1", "web2/1 L")
		d.scaling(t, apron.DefaultConfigurationName) // does not count as a name
		d.elsewhere().scaling(t, "web3")
	}, quotas)
}

// Pages meet every configuration that is there all along exactly once, whatever else is written.
func TestScalingPages(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		for _, name := range []string{"Able", "able", "web1", "web1", "web2"} {
			d.scaling(t, name)
		}
		var got []string
		no := false
		page := control.Page{Limit: 2}
		for i := 0; ; i++ {
			list, next, err := d.AutoScalingConfigurations(ctx, d.scope, "", &no, page)
			ok(t, err)
			got = append(got, shortScalings(list)...)
			if next == "" {
				break
			}
			if page.After = next; i == 0 {
				d.scaling(t, "Aaaa") // before the cursor
				_, err = d.DeleteAutoScalingConfiguration(ctx, d.scope, list[0].ARN.String(), false)
				ok(t, err)
				d.scaling(t, "zzzz")
			}
		}
		want := []string{"Able/1 L", "DefaultConfiguration/1 L D", "able/1 L", "web1/2 L", "web1/1", "web2/1 L", "zzzz/1 L"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages (-want +got):\n%s", diff)
		}
		_, _, err := d.AutoScalingConfigurations(ctx, d.scope, "", nil, control.Page{After: "nonsense"})
		refused(t, err, apron.Invalid, "NextToken")
	})
}

// Concurrent creates of one name get different numbers without a gap, and one is the latest;
// concurrent changes of the default leave one.
func TestScalingConcurrency(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		const n = 8
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				asc, err := d.CreateAutoScalingConfiguration(t.Context(), d.scope, control.NewAutoScalingConfiguration{Name: "web1"})
				if err == nil {
					_, err = d.UpdateDefaultAutoScalingConfiguration(t.Context(), d.scope, asc.ARN.String())
				}
				errs[i] = err
			})
		}
		wg.Wait()
		ok(t, errors.Join(errs...))
		no := false
		list, _, err := d.AutoScalingConfigurations(t.Context(), d.scope, "", &no, control.Page{})
		ok(t, err)
		numbers, latest, defaults := []int{}, 0, 0
		for _, c := range list {
			if c.Default {
				defaults++
			}
			if c.ARN.Name != "web1" {
				continue
			}
			numbers = append(numbers, c.ARN.Revision)
			if c.Latest {
				latest++
			}
		}
		slices.Sort(numbers)
		if !slices.Equal(numbers, []int{1, 2, 3, 4, 5, 6, 7, 8}) || latest != 1 || defaults != 1 {
			t.Errorf("revisions %v, %d latest, %d default", numbers, latest, defaults)
		}
	}, func(c *control.Config) { c.Quotas = apron.Quotas{} })
}
