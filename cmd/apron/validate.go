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
		return noConfiguration(v.Dir)
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
	if err := v.checkRuntime(name, c); err != nil {
		return err
	}
	fmt.Printf("%s: valid: runtime %s, port %s\n", name, c.Runtime, c.Run.Port)
	return nil
}

// noConfiguration says that a directory has no configuration file.
func noConfiguration(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "apprunner.yml")); err == nil {
		return fmt.Errorf("the configuration file in %s is called apprunner.yml, which is not read: rename it to %s", dir, source.ConfigurationName)
	}
	return fmt.Errorf("there is no %s in %s", source.ConfigurationName, dir)
}

// checkRuntime looks for what a build would end with at once. name is the file's.
func (v *validateCommand) checkRuntime(name string, c source.Configuration) error {
	if c.Runtime != source.RuntimeDocker {
		if err := server.CheckRuntime(c.Runtime, ""); err != nil {
			return fmt.Errorf("%s: line %d, runtime: %w", name, c.RuntimeLine, err)
		}
		if err := server.CheckRuntime(c.Runtime, c.RuntimeVersion); err != nil {
			return fmt.Errorf("%s: line %d, run.runtime-version: %w", name, c.VersionLine, err)
		}
		return nil
	}
	if st, err := os.Stat(filepath.Join(v.Dir, c.Dockerfile)); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("there is no file %s in %s", c.Dockerfile, v.Dir)
	}
	return nil
}
