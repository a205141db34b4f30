package containerd

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"apron"
)

// writeFile replaces a file so that a reader sees the old or the new content, also after a crash.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make directory of %s: %w", path, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Where the files of one instance are. Its name resolution files are bind-mounted into it, so they
// are in a directory of their own.
func filesDir(dir string, id apron.InstanceID) string {
	return filepath.Join(dir, "run", "instance", string(id))
}

// logBase returns the path of an instance's log (package logfile), which has what its processes wrote
// over all restarts.
func logBase(dir string, id apron.InstanceID) string {
	return filepath.Join(dir, "log", "instance", string(id))
}

// resolvSources are where the host's resolvers are listed, in the order they are tried. The second is
// where systemd-resolved lists the real ones when the first names only its own loopback address.
func resolvSources() []string {
	return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
}

// writeNames writes an instance's hostname, hosts and resolv.conf.
func writeNames(dir string, id apron.InstanceID, addr netip.Addr) error {
	host := string(id)
	files := map[string]string{
		"hostname":    host + "\n",
		"hosts":       fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n", addr, host),
		"resolv.conf": instanceResolvers(),
	}
	home := filesDir(dir, id)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("make directory of instance %s: %w", id, err)
	}
	for name, content := range files {
		//nolint:gosec // the application reads them, as whatever user its image names
		if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write %s of instance %s: %w", name, id, err)
		}
	}
	return nil
}

// instanceResolvers returns the resolv.conf of instances, empty on a host without resolvers for them:
// they reach nothing by name, like itself.
func instanceResolvers() string {
	for _, source := range resolvSources() {
		b, err := os.ReadFile(source)
		if err != nil {
			continue
		}
		if conf, any := resolvConf(b); any {
			return conf
		}
	}
	return ""
}

// resolvConf returns a resolv.conf (resolv.conf(5)) without the resolvers that an instance could not
// reach because they listen on the host's loopback or speak IPv6, and whether any resolver is left.
func resolvConf(host []byte) (conf string, any bool) {
	var out strings.Builder
	lines := bufio.NewScanner(bytes.NewReader(host))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			addr, err := netip.ParseAddr(words[1])
			if err != nil || addr.IsLoopback() || !addr.Is4() {
				continue
			}
			any = true
		case "search", "options", "domain":
		default:
			continue
		}
		out.WriteString(strings.Join(words, " ") + "\n")
	}
	return out.String(), any
}
