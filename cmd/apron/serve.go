package main

import (
	"fmt"
	"os"

	"apron/server"
)

type serveCommand struct{}

// Run plays the role until the process is told to stop.
func (serveCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	server.JoinPlatform(cfg, s.log())
	return server.Run(ctx, cfg, server.Hooks{}, s.log())
}

type routerCommand struct {
	TakeOver bool `help:"Take the listeners over from the router that runs; it ends once it has answered what it has begun."`
}

// Run plays the role until the process is told to stop or another router takes over.
func (r *routerCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	server.JoinPlatform(cfg, s.log())
	return server.RunRouter(ctx, cfg, r.TakeOver, s.log())
}

type engineCommand struct{}

// Run plays the role until the process is told to stop.
func (engineCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	server.JoinPlatform(cfg, s.log())
	return server.RunEngine(ctx, cfg, s.log())
}

type upCommand struct{}

// Run starts the server with the same flags.
func (upCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	var args []string
	for name, value := range s.flags() {
		args = append(args, fmt.Sprintf("--%s=%s", name, value))
	}
	if s.Config != "" {
		args = append(args, "--config="+s.Config)
	}
	args = append(args, "--data="+cfg.Data, "--log-format="+s.LogFormat)
	started, err := server.Up(ctx, cfg, args)
	if err != nil {
		return err
	}
	local, err := server.OpenLocal(cfg.Data)
	if err != nil {
		return err
	}
	verb := "runs already"
	if started {
		verb = "is up"
	}
	fmt.Fprintf(os.Stderr, "Apron %s: API http://%s, services http://%s, data in %s\n", verb, local.Listen, local.HTTP, cfg.Data)
	return nil
}

type downCommand struct{}

// Run stops everything.
func (downCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	return server.Down(ctx, cfg, s.log())
}
