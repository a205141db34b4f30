package main

import (
	"context"
	"fmt"
	"os"

	"apron/server"
	"apron/source"
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
	server.JoinEngine(cfg, s.log())
	return server.RunEngine(ctx, cfg, s.log())
}

type upCommand struct {
	Dir  string `arg:"" optional:"" type:"existingdir" help:"Directory to deploy too, with an apprunner.yaml. Default: this one, if it has one."`
	Name string `placeholder:"NAME" help:"Name of the service. Default: the directory's."`
}

// Run starts the server with the same flags, and deploys the directory if there is one to deploy.
func (u *upCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	if err := u.start(ctx, cfg, s); err != nil {
		return err
	}
	if u.Dir == "" {
		if _, err := os.Stat(source.ConfigurationName); err != nil {
			return nil
		}
		u.Dir = "."
	}
	local, err := server.OpenLocal(cfg.Data)
	if err != nil {
		return err
	}
	return u.deploy(ctx, local)
}

func (*upCommand) start(ctx context.Context, cfg server.Config, s *settings) error {
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
