package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"apron/server"
)

type envCommand struct{}

// Run prints the lines, for eval "$(apron env)".
func (envCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	return printEnv(os.Stdout, local)
}

func printEnv(w io.Writer, l server.Local) error {
	for _, v := range []struct{ name, value string }{
		{"AWS_ENDPOINT_URL", "http://" + l.Listen},
		{"AWS_REGION", l.Region},
		{"AWS_DEFAULT_REGION", l.Region},
		{"AWS_ACCESS_KEY_ID", l.Key.ID},
		{"AWS_SECRET_ACCESS_KEY", l.Key.Secret},
		{"APRON_HTTP", "http://" + l.HTTP},
		{"APRON_HTTPS", "https://" + l.HTTPS},
		{"APRON_REGISTRY", l.Listen},
		{"APRON_ACCOUNT", l.Account},
		{"APRON_DOMAIN", l.Domain},
	} {
		if _, err := fmt.Fprintf(w, "export %s=%s\n", v.name, quote(v.value)); err != nil {
			return fmt.Errorf("print environment: %w", err)
		}
	}
	return nil
}

// quote makes a shell word of s (POSIX shell, 2.2.2 single quotes).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
