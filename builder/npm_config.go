package builder

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// npm returns the npm registry this machine uses: the configured one, the one npm's own settings name
// (npmrc(5)), or the default of the npm that is installed.
func (b *Builder) npm(ctx context.Context) (npmRegistry, error) {
	r := npmRegistry{base: b.cfg.NPMRegistry, http: &http.Client{Transport: b.cfg.Transport}}
	if r.base == "" {
		r.base = npmSetting()
	}
	if r.base == "" {
		r.base = askNpm(ctx)
	}
	if r.base == "" {
		var err error
		if r.base, err = b.debian.npmDefault(ctx); err != nil {
			return npmRegistry{}, err
		}
	}
	return r, nil
}

// npmSetting returns the registry that environment or files of npm name; empty: none does.
func npmSetting() string {
	for _, name := range []string{"npm_config_registry", "NPM_CONFIG_REGISTRY"} {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	files := []string{"/etc/npmrc", "/usr/etc/npmrc"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append([]string{filepath.Join(home, ".npmrc")}, files...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			key, value, ok := strings.Cut(lines.Text(), "=")
			if ok && strings.TrimSpace(key) == "registry" {
				return strings.Trim(strings.TrimSpace(value), `"'`)
			}
		}
	}
	return ""
}

// askNpm asks the npm that is installed, if one is.
func askNpm(ctx context.Context) string {
	if _, err := exec.LookPath("npm"); err != nil {
		return ""
	}
	cmd := exec.CommandContext(ctx, "npm", "config", "get", "registry")
	cmd.Dir = "/"
	out, err := cmd.Output()
	if v := strings.TrimSpace(string(out)); err == nil && strings.HasPrefix(v, "http") {
		return v
	}
	return ""
}
