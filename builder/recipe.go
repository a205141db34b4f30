package builder

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// recipe is how a language's base images are made from packages: what they have to contain, and what
// the packages' maintainer scripts, which do not run, would have done.
type recipe struct {
	primary  string   // package whose version is the language's, without the dot-separated rest
	packages []string // of the image applications run in
	tools    []string // further ones of the image they are built in
	env      []string
	finish   func(t *tree, f *found) error // nil: nothing is left to do
}

// found is what was seen while packages were unpacked.
type found struct {
	names []string          // every path, in order
	kept  map[string][]byte // files that are made into others
	// authorities is what this machine trusts, in PEM; empty: what the packages do.
	authorities []byte
}

// osPackages is what every image has: a shell and the tools that scripts expect.
func osPackages() []string {
	return []string{
		"base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "diffutils",
		"findutils", "grep", "gzip", "hostname", "libc-bin", "mawk", "ncurses-base", "netbase", "procps", "sed", "tar",
		"tzdata", "util-linux",
	}
}

// scriptsOnly are packages that others depend on for their maintainer scripts alone.
func scriptsOnly() []string {
	return []string{
		"debconf", "dpkg", "libdb5.3", "libgdbm-compat4", "libgdbm6", "libperl5.36", "perl", "perl-base",
		"perl-modules-5.36", "util-linux-extra",
	}
}

// dispensable are packages that compilers and git can do without, and that are larger than they are.
func dispensable() []string {
	return []string{
		"debconf", "dpkg", "libasan8", "liberror-perl", "libgdbm-compat4", "libgdbm6", "liblsan0", "libperl5.36", "libtsan2",
		"libubsan1", "perl", "perl-modules-5.36",
	}
}

// buildTools is what the image of every build has besides.
func buildTools() []string {
	return []string{"curl", "g++", "gcc", "git", "libc6-dev", "make", "openssh-client", "patch", "pkg-config", "unzip", "xz-utils", "zip"}
}

// recipes returns how each language is made from the packages of Debian 12 and its like.
func recipes() map[language]recipe {
	return map[language]recipe{
		// Node itself comes from elsewhere: see node.go. This is what it is linked with, and what
		// native modules are compiled with.
		langNode: {packages: []string{"libatomic1", "libstdc++6"}, tools: []string{"python3"}},
		langPython: {
			primary: "python3", packages: []string{"python3", "python3-pip", "python3-venv", "sqlite3"},
			tools: []string{"python3-dev"}, finish: finishPython,
			env: []string{"PYTHONUNBUFFERED=1"},
		},
		langGo:   {primary: "golang-go", packages: []string{"golang-go"}, env: []string{"GOPATH=/root/go", "GOFLAGS=-buildvcs=false"}},
		langRuby: {primary: "ruby3.1", packages: []string{"ruby", "bundler", "rake"}, tools: []string{"ruby-dev"}},
		langJava: {
			primary: "openjdk-17-jdk-headless", packages: []string{"openjdk-17-jdk-headless", "maven"},
			finish: finishJava, env: []string{"JAVA_HOME=/usr/lib/jvm/default-java", "M2_HOME=/usr/share/maven"},
		},
		langPHP: {
			primary: "php8.2-cli",
			packages: []string{
				"php8.2-cli", "php8.2-fpm", "php8.2-bcmath", "php8.2-curl", "php8.2-gd", "php8.2-intl", "php8.2-mbstring",
				"php8.2-mysql", "php8.2-pgsql", "php8.2-sqlite3", "php8.2-xml", "php8.2-zip", "composer", "nginx-light",
			},
			finish: finishPHP, env: []string{"COMPOSER_ALLOW_SUPERUSER=1"},
		},
	}
}

// keep remembers names, and the content of files that finish works with.
func (f *found) keep(h *tar.Header, content io.Reader) (taken bool, err error) {
	f.names = append(f.names, h.Name)
	switch {
	case path.Base(h.Name) == "EXTERNALLY-MANAGED": // it forbids pip to install, as App Runner's users do
		return true, nil
	case h.Typeflag != tar.TypeReg:
		return false, nil
	case strings.HasPrefix(h.Name, "usr/share/base-passwd/"), strings.HasPrefix(h.Name, "usr/share/ca-certificates/"),
		strings.HasPrefix(h.Name, "usr/share/php8.2-") && strings.HasSuffix(h.Name, ".ini"),
		strings.HasPrefix(h.Name, "usr/lib/php/8.2/php.ini-production"), strings.HasPrefix(h.Name, "usr/share/php8.2-fpm/"):
		b, err := io.ReadAll(io.LimitReader(content, 1<<20))
		if err != nil {
			return false, err
		}
		f.kept[h.Name] = b
		return true, nil
	}
	return false, nil
}

// finishOS makes the root file system of the operating system layer complete.
func finishOS(t *tree, f *found) error {
	var errs errorList
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		errs.add(t.link(dir, "usr/"+dir))
	}
	for _, d := range []struct {
		name string
		mode int64
	}{
		{"app", 0o755},
		{"dev", 0o755},
		{"media", 0o755}, // by base-files' maintainer script, as mnt, opt, srv and their like
		{"mnt", 0o755},
		{"opt", 0o755},
		{"proc", 0o555},
		{"root", 0o700},
		{"run", 0o755},
		{"run/lock", 0o1777},
		{"srv", 0o755},
		{"sys", 0o555},
		{"tmp", 0o1777},
		{"usr/local/etc", 0o755},
		{"usr/local/sbin", 0o755},
		{"usr/local/src", 0o755},
		{"var/opt", 0o755},
		{"var/tmp", 0o1777},
	} {
		errs.add(t.dir(d.name, d.mode))
	}
	for _, name := range []string{"passwd", "group"} {
		errs.add(t.file("etc/"+name, 0o644, f.kept["usr/share/base-passwd/"+name+".master"]))
	}
	errs.add(t.file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n")))
	authorities := f.authorities
	if len(authorities) == 0 {
		authorities = f.certificates()
	}
	errs.add(t.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities))
	errs.add(t.link("usr/bin/awk", "mawk"))
	errs.add(t.link("usr/bin/sh", "dash"))
	errs.add(t.file("usr/local/bin/sudo", 0o755, []byte(sudoScript)))
	for _, name := range []string{"yum", "dnf", "amazon-linux-extras", "apt-get", "apt"} {
		errs.add(t.file("usr/local/bin/"+name, 0o755, []byte(packagesScript)))
	}
	return errs.err()
}

// Commands of build lists that mean something else here: builds run as root already, and the images
// have no package manager. The second fails loudly instead of being "not found".
const (
	sudoScript = `#!/bin/sh
# Builds run as root: this only leaves out the options of sudo.
while [ $# -gt 0 ]; do
	case "$1" in
	-u | -g | -p) shift 2 ;;
	--) shift; break ;;
	-* | *=*) shift ;;
	*) break ;;
	esac
done
exec "$@"
`
	packagesScript = `#!/bin/sh
echo "${0##*/}: this base image has no package manager: it is assembled from Debian packages." >&2
echo "${0##*/}: build from a Dockerfile (runtime: docker) to install system packages." >&2
exit 100
`
)

// certificates concatenates the certificate authorities of the packages.
func (f *found) certificates() []byte {
	var names []string
	for name := range f.kept {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all bytes.Buffer
	for _, name := range names {
		all.Write(bytes.TrimSpace(f.kept[name]))
		all.WriteByte('\n')
	}
	return all.Bytes()
}

func finishPython(t *tree, _ *found) error { return t.link("usr/bin/python", "python3") }

// finishPHP does what phpenmod and ucf do: every extension is switched on, for the command line and
// for FPM.
func finishPHP(t *tree, f *found) error {
	var errs errorList
	names := make([]string, 0, len(f.kept))
	for name := range f.kept {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch base := path.Base(name); {
		case strings.HasPrefix(name, "usr/share/php8.2-") && strings.HasSuffix(base, ".ini"):
			available := "etc/php/8.2/mods-available/" + base
			errs.add(t.file(available, 0o644, f.kept[name]))
			for _, kind := range []string{"cli", "fpm"} {
				errs.add(t.link(fmt.Sprintf("etc/php/8.2/%s/conf.d/%s-%s", kind, priority(f.kept[name]), base), "/"+available))
			}
		case base == "php.ini-production.cli":
			errs.add(t.file("etc/php/8.2/cli/php.ini", 0o644, f.kept[name]))
		case base == "php.ini-production":
			errs.add(t.file("etc/php/8.2/fpm/php.ini", 0o644, f.kept[name]))
		}
	}
	errs.add(t.link("usr/bin/php", "php8.2"))
	errs.add(t.link("usr/sbin/php-fpm", "php-fpm8.2"))
	return errs.err()
}

// priority is the number in an extension's comment that phpenmod orders by.
func priority(ini []byte) string {
	_, rest, ok := bytes.Cut(ini, []byte("priority="))
	if !ok || len(rest) < 2 {
		return "20"
	}
	return string(rest[:2])
}

// errorList keeps the first error of a row of steps.
type errorList struct{ first error }

func (e *errorList) add(err error) {
	if e.first == nil {
		e.first = err
	}
}

func (e *errorList) err() error { return e.first }
