package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// casualty is a service whose operations are survived, and its neighbour, which must not notice.
type casualty struct {
	*home
	image     string
	svc       *types.Service
	neighbour *types.Service
	instance  string // of the neighbour
	version   int    // that serves
	names     int    // used so far
}

// TestSIGKILLMatrix kills serve, the engine, both, and the shims of the service's instances, at and after
// every step of every type of operation. Each operation ends as it should, the right version serves, and
// nothing is left over of what was under way.
func TestSIGKILLMatrix(t *testing.T) {
	h := newHome(t)
	c := &casualty{home: h, image: h.push(t)}
	c.neighbour = h.running(t, input("neighbour", c.image, map[string]string{"VERSION": "neighbour"}))
	for n, victim := range []string{"engine", "shims", "serve", "both"} {
		t.Run(victim, func(t *testing.T) { c.live(t, victim, n) })
	}
}

// live goes through the life of a service, with a crash in each step. Every other crash comes a little
// after the step, to hit the next one; odd tells which.
func (c *casualty) live(t *testing.T, victim string, odd int) {
	started, cases := time.Now(), 0
	survive := func(op, step string, do func(t *testing.T, hit func(), victim string)) {
		cases++
		delay := time.Duration((cases+odd)%2) * 15 * time.Millisecond
		t.Run(op+" "+step, func(t *testing.T) {
			c.see(t)
			do(t, func() {
				c.arm(t, crash{op + "/" + step, victim, strings.TrimPrefix(instanceOf(c.instance), "instance="), delay})
			}, victim)
			c.look(t, victim)
		})
		if t.Failed() {
			t.FailNow() // the next one would begin with what this one has left
		}
	}
	for _, step := range []string{"resolve", "prepare", "provision", "route"} {
		survive("CREATE_SERVICE", step, c.create)
		switch step {
		case "resolve":
			survive("DELETE_SERVICE", "unroute", c.delete)
		case "prepare":
			survive("DELETE_SERVICE", "retire", c.delete)
		default:
			c.delete(t, func() {}, victim)
		}
	}
	survive("CREATE_SERVICE", "retire", c.create)
	for _, step := range []string{"resolve", "prepare", "provision", "route", "retire"} {
		survive("UPDATE_SERVICE", step, c.update)
		survive("START_DEPLOYMENT", step, c.deploy)
	}
	for _, step := range []string{"resolve", "prepare", "revert", "discard"} {
		survive("UPDATE_SERVICE", step, c.updateInVain)
	}
	survive("PAUSE_SERVICE", "suspend", c.pause)
	survive("RESUME_SERVICE", "provision", c.resume)
	survive("PAUSE_SERVICE", "park", c.pause)
	survive("RESUME_SERVICE", "route", c.resume)
	c.delete(t, func() {}, victim)
	t.Logf("%d crashes in %s", cases, time.Since(started).Round(time.Second))
}

// see remembers who serves the neighbour's requests.
func (c *casualty) see(t *testing.T) {
	t.Helper()
	_, body, err := c.get(t.Context(), c.neighbour, "/")
	if err != nil {
		t.Fatal(err)
	}
	c.instance = body
}

// look checks what holds after every crash.
func (c *casualty) look(t *testing.T, victim string) {
	t.Helper()
	if _, body, err := c.get(t.Context(), c.neighbour, "/"); err != nil || body != c.instance {
		t.Errorf("the neighbour answers %q, %v; before it was %q", body, err, c.instance)
	}
	c.wantNothingLost(t, victim != "serve" && victim != "both")
}

// across begins an operation that the crash hits, and returns the service once it has ended, under the
// next server if this one had to die. ok tells that the operation ended as it does without a crash. It
// must, but where instances died on the way: a new version whose instance ends has failed.
func (c *casualty) across(t *testing.T, victim string, hit func(), begin func() *types.Service, want types.OperationStatus) (svc *types.Service, ok bool) {
	t.Helper()
	pid := c.pid(t, "serve")
	hit()
	dies := c.armed() && (victim == "serve" || victim == "both")
	svc = begin()
	if dies {
		c.awaitEnd(t, pid)
		c.start(t)
	}
	svc = c.settled(t, svc.ServiceArn)
	op := c.operations(t, svc)[0]
	ok = op.Status == want
	if !ok && (victim != "shims" || op.Status != types.OperationStatusRollbackSucceeded && op.Status != types.OperationStatusFailed) {
		t.Fatalf("operation %s is %s, want %s; events:\n%s", op.Type, op.Status, want, c.events(t, svc))
	}
	// One that was to hit what comes after the last step may be on its way still.
	eventually(t, "the crash to happen", func() bool { return !c.armed() })
	return svc, ok
}

// serves checks that the service runs and answers as the version does.
func (c *casualty) serves(t *testing.T, svc *types.Service, version int) {
	t.Helper()
	if svc.Status != types.ServiceStatusRunning {
		t.Errorf("service is %s", svc.Status)
	}
	c.svc, c.version = svc, version
	want := fmt.Sprintf("version=%d ", version)
	eventually(t, "answers with "+want, func() bool { // at once, but for the shims
		status, body, err := c.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK && strings.HasPrefix(body, want)
	})
}

// quiet checks that the service has the status and no requests are sent to it.
func (c *casualty) quiet(t *testing.T, svc *types.Service, want types.ServiceStatus) {
	t.Helper()
	status, body, err := c.get(t.Context(), svc, "/")
	if svc.Status != want || err != nil || status != http.StatusNotFound {
		t.Errorf("service is %s and answers %d %q, %v; want %s", svc.Status, status, body, err, want)
	}
}

func env(version int) map[string]string { return map[string]string{"VERSION": fmt.Sprint(version)} }

// next is the version after the one that serves.
func (c *casualty) next() int { return c.version + 1 }

func (c *casualty) create(t *testing.T, hit func(), victim string) {
	c.names++
	name := fmt.Sprintf("web-%d", c.names)
	svc, ok := c.across(t, victim, hit, func() *types.Service {
		return c.home.create(t, input(name, c.image, env(c.next())))
	}, types.OperationStatusSucceeded)
	if !ok {
		c.quiet(t, svc, types.ServiceStatusCreateFailed)
		c.svc = svc
		svc = c.settled(t, c.send(t, env(c.next())).ServiceArn) // built anew
	}
	c.serves(t, svc, c.next())
}

func (c *casualty) delete(t *testing.T, hit func(), victim string) {
	svc, _ := c.across(t, victim, hit, func() *types.Service {
		out, err := c.client.DeleteService(t.Context(), deleteInput(c.svc))
		if err != nil {
			t.Fatal(err)
		}
		return out.Service
	}, types.OperationStatusSucceeded)
	c.quiet(t, svc, types.ServiceStatusDeleted)
}

func (c *casualty) send(t *testing.T, env map[string]string) *types.Service {
	out, err := c.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
		ServiceArn: c.svc.ServiceArn, SourceConfiguration: input("", c.image, env).SourceConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Service
}

func (c *casualty) update(t *testing.T, hit func(), victim string) {
	version := c.next()
	svc, ok := c.across(t, victim, hit, func() *types.Service { return c.send(t, env(version)) }, types.OperationStatusSucceeded)
	if !ok {
		version = c.version
	}
	c.serves(t, svc, version)
}

func (c *casualty) updateInVain(t *testing.T, hit func(), victim string) {
	svc, _ := c.across(t, victim, hit, func() *types.Service {
		return c.send(t, map[string]string{"MODE": "exit", "CODE": "7"})
	}, types.OperationStatusRollbackSucceeded)
	c.serves(t, svc, c.version)
}

func (c *casualty) deploy(t *testing.T, hit func(), victim string) {
	svc, _ := c.across(t, victim, hit, func() *types.Service {
		if _, err := c.client.StartDeployment(t.Context(), &apprunner.StartDeploymentInput{ServiceArn: c.svc.ServiceArn}); err != nil {
			t.Fatal(err)
		}
		return c.svc
	}, types.OperationStatusSucceeded)
	c.serves(t, svc, c.version)
}

func (c *casualty) pause(t *testing.T, hit func(), victim string) {
	svc, _ := c.across(t, victim, hit, func() *types.Service {
		out, err := c.client.PauseService(t.Context(), &apprunner.PauseServiceInput{ServiceArn: c.svc.ServiceArn})
		if err != nil {
			t.Fatal(err)
		}
		return out.Service
	}, types.OperationStatusSucceeded)
	c.quiet(t, svc, types.ServiceStatusPaused)
}

func (c *casualty) resume(t *testing.T, hit func(), victim string) {
	again := func() *types.Service {
		out, err := c.client.ResumeService(t.Context(), &apprunner.ResumeServiceInput{ServiceArn: c.svc.ServiceArn})
		if err != nil {
			t.Fatal(err)
		}
		return out.Service
	}
	svc, ok := c.across(t, victim, hit, again, types.OperationStatusSucceeded)
	if !ok {
		c.quiet(t, svc, types.ServiceStatusPaused)
		svc = c.settled(t, again().ServiceArn)
	}
	c.serves(t, svc, c.version)
}
