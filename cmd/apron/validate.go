package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"apron/server"
	"apron/source"
)

type validateCommand struct {
	Dir string `arg:"" optional:"" default:"." type:"existingdir" help:"Directory with the apprunner.yaml to check."`
}

// Run prints what is wrong with the configuration file, and fails if a deployment would.
func (v *validateCommand) Run() error {
	name := filepath.Join(v.Dir, source.ConfigurationName)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, other := os.Stat(filepath.Join(v.Dir, "apprunner.yml")); other == nil {
			return fmt.Errorf("%s is called apprunner.yml, which is not read: rename it to %s", v.Dir, source.ConfigurationName)
		}
		return fmt.Errorf("there is no %s in %s", source.ConfigurationName, v.Dir)
	}
	if err != nil {
		return fmt.Errorf("read configuration file: %w", err)
	}
	c, problems := source.ParseConfiguration(text)
	failed := false
	for _, p := range problems {
		kind := "warning"
		if p.Fatal {
			kind, failed = "error", true
		}
		fmt.Printf("%s: %s: %s\n", name, kind, p)
	}
	if failed {
		return errors.New("the configuration file cannot be used")
	}
	if err := v.checkRuntime(c); err != nil {
		return err
	}
	fmt.Printf("%s: valid: runtime %s, port %s\n", name, c.Runtime, c.Run.Port)
	return nil
}

// checkRuntime looks for what a build would end with at once.
func (v *validateCommand) checkRuntime(c source.Configuration) error {
	if c.Runtime != source.RuntimeDocker {
		return server.CheckRuntime(c.Runtime, c.RuntimeVersion)
	}
	if st, err := os.Stat(filepath.Join(v.Dir, c.Dockerfile)); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("there is no file %s in %s", c.Dockerfile, v.Dir)
	}
	return nil
}
