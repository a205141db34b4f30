// Command apron is a self-hosted home for AWS App Runner services: server, router, engine and the
// commands to work with them, in one binary. `apron help` lists the commands.
package main

import (
	"errors"
	"os"

	"github.com/alecthomas/kong"
)

// version is set by the linker, which can only set a variable.
var version = "dev"

func main() {
	var cli commands
	k := kong.Parse(&cli,
		kong.Name("apron"),
		kong.Description("A self-hosted home for AWS App Runner services."),
		kong.UsageOnError(),
		kong.Vars{"version": version},
	)
	err := k.Run(&cli.settings)
	code := 1
	if ended, ok := errors.AsType[exitError](err); ok {
		code, err = ended.code, ended.err
	} else if err == nil {
		code = 0
	}
	if err != nil {
		k.Errorf("%s", said(err))
	}
	os.Exit(code)
}
