package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"apron/server"
)

// commands is the command line.
type commands struct {
	settings

	Up         upCommand         `cmd:"" help:"Start the server in the background, and deploy a directory."`
	Down       downCommand       `cmd:"" help:"Stop the server, the router and every instance."`
	Serve      serveCommand      `cmd:"" help:"Run the control plane: API, registry, operations."`
	Router     routerCommand     `cmd:"" help:"Run the router. serve starts it when it does not run."`
	Engine     engineCommand     `cmd:"" help:"Run the container engine. serve starts it when it does not run."`
	Env        envCommand        `cmd:"" help:"Print shell lines that point AWS clients at the server."`
	Push       pushCommand       `cmd:"" help:"Push a static binary or an image archive to the embedded registry."`
	Deploy     deployCommand     `cmd:"" help:"Create a service from an image, wait, and print its URL."`
	Logs       logsCommand       `cmd:"" help:"Print the events of a service, or what its instances write."`
	Revisions  revisionsCommand  `cmd:"" help:"List the revisions of a service."`
	Rollback   rollbackCommand   `cmd:"" help:"Deploy an earlier revision of a service again."`
	Operations operationsCommand `cmd:"" help:"List the operations of a service and why they failed."`

	Exec   execCommand   `cmd:"" help:"Run a command in an instance of a service."`
	Status statusCommand `cmd:"" help:"Print how the server on this machine is."`
	Doctor doctorCommand `cmd:"" help:"Look whether this machine can run Apron, and say what to do."`

	CA   caCommand   `cmd:"" name:"ca" help:"Print the certificate of the local authority, for clients to trust."`
	Keys keysCommand `cmd:"" help:"Make, list and take away access keys."`

	Validate validateCommand `cmd:"" help:"Check the apprunner.yaml of a directory."`

	Connections connectionsCommand `cmd:"" help:"Complete, list and delete connections to source code providers."`

	Runtimes runtimesCommand `cmd:"" help:"List, make and import the base images of managed runtimes."`

	Webhooks webhooksCommand `cmd:"" help:"Print the URL and the secret with which a Git host tells a service of pushes."`

	Version versionCommand `cmd:"" help:"Print the version."`
}

// settings are the flags every command has. An empty one was not given; see server.Load for what
// counts then. The environment variables APRON_<FLAG> are read there too.
type settings struct {
	Data      string `placeholder:"DIR" help:"Data directory." env:"APRON_DATA"`
	Listen    string `placeholder:"HOST:PORT" help:"Address of the API, registry and console."`
	HTTP      string `name:"http" placeholder:"HOST:PORT" help:"Address at which services answer over HTTP."`
	HTTPS     string `name:"https" placeholder:"HOST:PORT" help:"Address at which services answer over HTTPS."`
	Domain    string `placeholder:"NAME" help:"Services are <label>.<region>.NAME."`
	Region    string `placeholder:"NAME" help:"Region the command line works in."`
	Account   string `placeholder:"DIGITS" help:"Account of the administrator."`
	Runtime   string `placeholder:"NAME" help:"What runs instances: runc (default), or gvisor for untrusted code."`
	Store     string `placeholder:"URL" help:"Database: a postgres:// URL. Default: SQLite in the data directory."`
	Config    string `placeholder:"FILE" help:"Configuration file. Default: apron.yaml in the data directory." env:"APRON_CONFIG"`
	LogFormat string `enum:"text,json" default:"text" help:"Format of the server's log: text or json." env:"APRON_LOG_FORMAT"`
}

// flags returns what was given on the command line, by configuration key.
func (s settings) flags() map[string]any {
	given := map[string]any{}
	for name, value := range map[string]string{
		"data": s.Data, "listen": s.Listen, "http": s.HTTP, "https": s.HTTPS, "domain": s.Domain,
		"region": s.Region, "account": s.Account, "store": s.Store, "runtime": s.Runtime,
	} {
		if value != "" {
			given[name] = value
		}
	}
	return given
}

// load returns the configuration the flags, the environment and the file make together.
func (s settings) load() (server.Config, error) {
	file := s.Config
	if file == "" {
		file = server.ConfigFile(s.Data)
	}
	return server.Load(file, s.flags())
}

// local describes the server on this machine.
func (s settings) local() (server.Local, error) {
	cfg, err := s.load()
	if err != nil {
		return server.Local{}, err
	}
	return server.OpenLocal(cfg.Data)
}

func (s settings) log() *slog.Logger {
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	_, err := fmt.Printf("apron %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
