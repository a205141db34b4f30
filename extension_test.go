package apron_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
)

func TestParseExtensions(t *testing.T) {
	got, err := apron.ParseExtensions([]apron.Tag{
		{Key: "team", Value: "web"},
		{Key: "apron:start-timeout", Value: "90"},
		{Key: "apron:stop-timeout", Value: "1m30s"},
		{Key: "apron:runtime", Value: "gvisor"},
		{Key: "apron:dockerfile", Value: "deploy/Dockerfile"},
		{Key: "apron:prepared", Value: "2"},
		{Key: "apron:request-timeout", Value: "10m"},
		{Key: "apron:queue", Value: "0"},
		{Key: "apron:queue-timeout", Value: "250ms"},
		{Key: "apron:websocket", Value: "off"},
		{Key: "apron:app-protocol", Value: "h2c"},
		{Key: "apron:access-log", Value: "on"},
	})
	want := apron.Extensions{
		StartTimeout: 90 * time.Second, StopTimeout: 90 * time.Second,
		Runtime: apron.RuntimeGVisor, Dockerfile: "deploy/Dockerfile", Prepared: 2,
		Route: apron.RouteOptions{
			RequestTimeout: 10 * time.Minute, Queue: -1, QueueTimeout: 250 * time.Millisecond,
			NoWebSocket: true, Protocol: apron.ProtocolH2C, AccessLog: true,
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestExtensionsRefused(t *testing.T) {
	for _, tc := range []struct{ key, value, want string }{
		{"apron:queue", "many", "is not a number"},
		{"apron:queue", "-1", "is not a number"},
		{"apron:queue-timeout", "1h", "is not a time from 10ms to 10m0s"},
		{"apron:start-timeout", "", "is not a time"},
		{"apron:prepared", "11", "is not a number from 0 to 10"},
		{"apron:prepared", "-1", "is not a number from 0 to 10"},
		{"apron:prepared", "all", "is not a number from 0 to 10"},
		{"apron:websocket", "no", "is not on or off"},
		{"apron:app-protocol", "h2", "is not http1 or h2c"},
		{"apron:runtime", "kata", "is not runc or gvisor"},
		{"apron:dockerfile", "../Dockerfile", "is not a path below"},
		{"apron:dockerfile", "/Dockerfile", "is not a path below"},
		{"apron:colour", "red", "Unknown tag key"},
	} {
		err := apron.CheckTags(apron.ResourceService, []apron.Tag{{Key: tc.key, Value: tc.value}})
		var fault *apron.Fault
		if !errors.As(err, &fault) || fault.Kind != apron.Invalid || !strings.Contains(fault.Msg, tc.want) {
			t.Errorf("%s=%s: got %v, want %q", tc.key, tc.value, err, tc.want)
		}
	}
	if err := apron.CheckTags(apron.ResourceConnection, []apron.Tag{{Key: "apron:queue", Value: "1"}}); err == nil {
		t.Error("a connection took a service's extension")
	}
}
