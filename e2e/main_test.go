// Package e2e_test drives a whole Apron, its three processes and real instances, with the clients
// people use: the AWS SDK for Go, the AWS CLI, boto3, Terraform and plain HTTP.
//
// The test binary plays Apron's three roles itself (it is what the server re-executes), so the
// race detector watches the server too. Tests of the command line use the real binary.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apron/server"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve", "router", "engine":
			if err := playRole(os.Args[1], os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "apron:", err)
				os.Exit(1)
			}
			return
		case loadRole:
			if err := playLoad(os.Stdin, os.Stdout, os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	code := m.Run()
	if err := os.RemoveAll(built.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// playRole does what cmd/apron does, with a hook that can end the server at a step boundary.
func playRole(role string, args []string) error {
	flags := flag.NewFlagSet(role, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	given := map[string]*string{}
	for _, name := range []string{"data", "listen", "http", "https", "start-window", "store", "poll-interval", "config", "domain"} {
		given[name] = flags.String(name, "", "")
	}
	takeOver := flags.Bool("take-over", false, "")
	mirrors := flags.String("mirrors", "", "") // HOST=URL
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("parse flags: %w", err)
	}
	set := map[string]any{}
	if host, url, ok := strings.Cut(*mirrors, "="); ok {
		set["mirrors"] = map[string]any{host: url}
	}
	for name, value := range given {
		if *value != "" && name != "config" {
			set[name] = *value
		}
	}
	cfg, err := server.Load(*given["config"], set)
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if role == "engine" {
		server.JoinEngine(cfg, log)
		return server.RunEngine(ctx, cfg, log)
	}
	server.JoinPlatform(cfg, log)
	switch role {
	case "router":
		return server.RunRouter(ctx, cfg, *takeOver, log)
	default:
		return server.Run(ctx, cfg, server.Hooks{AfterStep: crashHook(cfg.Data)}, log)
	}
}

// needRoot skips where instances cannot be started, which in CI is a failure.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "instances need root")
	}
}

// skip ends the test without a verdict on a developer's machine and with a failure in CI.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("in CI nothing may be missing: " + why)
	}
	t.Skip(why)
}

// down stops everything of the data directory. Its own context: it also runs when a test is over.
func down(t testing.TB, data string) {
	t.Helper()
	cfg, err := server.Load("", map[string]any{"data": data})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if err := server.Down(context.WithoutCancel(t.Context()), cfg, log); err != nil {
		t.Errorf("down: %v", err)
	}
	checkNothingLeft(t, data)
}

// checkNothingLeft fails the test when a process or a mount of the data directory remains.
func checkNothingLeft(t testing.TB, data string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), data+"/") {
		t.Errorf("mounts of %s are left", data)
	}
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || err != nil {
			continue // it ended between the look and the read
		}
		if strings.Contains(string(b), data) && !strings.HasPrefix(name, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			t.Errorf("process %s is left: %q", name, b)
		}
	}
}
