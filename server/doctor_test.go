package server_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"apron/engine/containerd"
	"apron/server"
)

// examined returns what the doctor says of one thing.
func examined(t *testing.T, name string, set map[string]any) containerd.Check {
	t.Helper()
	cfg, err := server.Load("", set)
	if err != nil {
		t.Fatal(err)
	}
	all := server.Doctor(t.Context(), cfg)
	i := slices.IndexFunc(all, func(c containerd.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("the doctor did not look at %s: %+v", name, all)
	}
	if all[i].Advice == "" {
		t.Errorf("%s has no advice", name)
	}
	return all[i]
}

func TestDoctorOfPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken, dir := l.Addr().String(), t.TempDir()
	for name, row := range map[string]struct {
		listen, http, https string
		want                []string // none: all is well
	}{
		"free":      {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", nil},
		"taken":     {taken, "127.0.0.1:0", taken, []string{"listen: ", "; https: ", "address already in use"}},
		"elsewhere": {"127.0.0.1:0", "192.0.2.1:80", "127.0.0.1:0", []string{"http: ", "cannot assign"}},
	} {
		c := examined(t, "ports", map[string]any{"data": dir, "listen": row.listen, "http": row.http, "https": row.https})
		if (c.Err == nil) != (row.want == nil) || !c.Required {
			t.Errorf("%s: %+v", name, c)
		}
		for _, want := range row.want {
			if c.Err != nil && !strings.Contains(c.Err.Error(), want) {
				t.Errorf("%s: %v, want it to tell %q", name, c.Err, want)
			}
		}
	}
	l.Close()
	c := examined(t, "ports", map[string]any{"data": dir, "listen": taken, "http": taken, "https": "127.0.0.1:0"})
	if c.Err == nil || strings.Contains(c.Err.Error(), "listen: ") || !strings.Contains(c.Err.Error(), "http: ") {
		t.Errorf("the same port twice: %+v", c)
	}
}

func TestDoctorOfDataDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{
		dir:                              "",
		filepath.Join(dir, "a", "b"):     "",
		file:                             "not a directory",
		"/" + strings.Repeat("long", 30): "shorter path",
	} {
		cfg := server.Config{Data: data, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0"}
		all := server.Doctor(t.Context(), cfg)
		i := slices.IndexFunc(all, func(c containerd.Check) bool { return c.Name == "data directory" })
		switch c := all[i]; {
		case want == "" && c.Err != nil, want != "" && c.Err == nil:
			t.Errorf("%s: %+v", data, c)
		case c.Err != nil && !strings.Contains(c.Err.Error(), want):
			t.Errorf("%s: %v, want %q", data, c.Err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the doctor left %v, %v", left, err)
	}
}
