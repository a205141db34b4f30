package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"apron"
	"apron/control"
)

// Config is the server's whole configuration. Load fills it; every member has a working default.
type Config struct {
	Data    string `koanf:"data"`    // data directory, absolute
	Listen  string `koanf:"listen"`  // API listener, host:port; port 0 picks a free one
	HTTP    string `koanf:"http"`    // router's plain listener, host:port
	HTTPS   string `koanf:"https"`   // router's TLS listener, host:port
	Domain  string `koanf:"domain"`  // services are <label>.<region>.<Domain>
	Region  string `koanf:"region"`  // region the command line works in; the API accepts any
	Account string `koanf:"account"` // account of the administrator key, 12 digits
	// Store is the database: empty for SQLite in Data, or a postgres:// URL.
	Store string `koanf:"store"`
	// Runtime is what runs the instances of services whose tags do not say: runc or gvisor.
	Runtime string `koanf:"runtime"`
	// StartWindow is how long an instance that runs may take to pass its first health check.
	StartWindow time.Duration `koanf:"start-window"`
	// Revisions is how many revisions of each service that have served are kept with their images, the
	// one that serves included.
	Revisions int `koanf:"revisions"`
	// PollInterval is how often the tags that services with automatic deployments name in other
	// registries are looked at; 0: never.
	PollInterval time.Duration `koanf:"poll-interval"`
	// Operations is how many operations may run at a time.
	Operations int `koanf:"operations"`
	// Mirrors maps a registry host to the base URL images of it are pulled from.
	Mirrors map[string]string `koanf:"mirrors"`
	// Certificates are the operator's own, for the router.
	Certificates []CertificateFiles `koanf:"certificates"`
	// Insecure lists registry hosts (host or host:port) that are spoken to without TLS.
	Insecure []string `koanf:"insecure-registries"`
	// RegistryCredentials maps a registry host to what it lets this server in with.
	RegistryCredentials map[string]RegistryCredential `koanf:"registry-credentials"`
	// DockerConfig is a file in the format of docker's config.json with further credentials; empty: none.
	DockerConfig string `koanf:"docker-config"`
	// RegistryMinFreeMiB is the disk space that pushes to the embedded registry must leave free; 0: none.
	RegistryMinFreeMiB int64 `koanf:"registry-min-free-mib"`
	// MaxImageMiB bounds the compressed layers of an image together.
	MaxImageMiB int64 `koanf:"max-image-mib"`
	// MaxUnpackedMiB bounds what they unpack to.
	MaxUnpackedMiB int64 `koanf:"max-unpacked-mib"`
	// GitRepositoryMiB bounds a repository of the embedded Git host, as it is before a push and what the push
	// adds, each.
	GitRepositoryMiB int64 `koanf:"git-repository-mib"`
	// LocalRepositories says whether services may be built from repositories on this machine's disk, and
	// from hosts with addresses of its loopback or its link: yes, no, or empty for yes if Domain is
	// localhost or below.
	LocalRepositories string `koanf:"local-repositories"`
	// Quotas bounds what an account may have in a region, by quota name (see quotaNames); 0 is no
	// bound. What it does not name keeps apron.DefaultQuotas.
	Quotas map[string]int `koanf:"quotas"`
	// Builds is how source code is built.
	Builds BuildConfig `koanf:"builds"`

	file string // the configuration file it was loaded from; empty: none
}

// AllowsLocalRepositories says what LocalRepositories comes to.
func (c Config) AllowsLocalRepositories() bool {
	return c.LocalRepositories == "yes" || c.LocalRepositories == "" && control.BelowLocalhost(c.Domain)
}

// quotaNames gives the names of quotas in the configuration file, and where each of them goes.
func quotaNames(q *apron.Quotas) map[string]*int {
	return map[string]*int{
		"services":                     &q.Services,
		"connections":                  &q.Connections,
		"auto-scaling-configurations":  &q.AutoScalingConfigurations,
		"auto-scaling-revisions":       &q.AutoScalingRevisions,
		"max-size":                     &q.MaxSize,
		"observability-configurations": &q.ObservabilityConfigurations,
		"observability-revisions":      &q.ObservabilityRevisions,
		"vpc-connectors":               &q.VPCConnectors,
		"vpc-ingress-connections":      &q.VPCIngressConnections,
		"custom-domains":               &q.CustomDomains,
	}
}

// quotas returns the quotas in effect.
func (c Config) quotas() apron.Quotas {
	q := apron.DefaultQuotas()
	names := quotaNames(&q)
	for name, limit := range c.Quotas {
		if at := names[name]; at != nil {
			*at = limit
		}
	}
	return q
}

// defaults returns the configuration of a server nobody configured.
func defaults() map[string]any {
	return map[string]any{
		"data": defaultData(), "listen": "127.0.0.1:4080", "http": "127.0.0.1:8080", "https": "127.0.0.1:8443",
		"domain": "apron.localhost", "region": "us-east-1", "account": "123456789012",
		"store": "", "runtime": apron.RuntimeRunc, "start-window": "5m", "operations": 8, "revisions": 20, "poll-interval": "60s",
		"docker-config": "", "local-repositories": "", "max-image-mib": 10 << 10, "max-unpacked-mib": 40 << 10, "git-repository-mib": 2 << 10, "registry-min-free-mib": 1 << 10,
	}
}

// defaultData is /var/lib/apron for root and the user's data directory for everyone else (XDG Base
// Directory specification).
func defaultData() string {
	if os.Geteuid() == 0 {
		return "/var/lib/apron"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "apron")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/var/lib/apron"
	}
	return filepath.Join(home, ".local", "share", "apron")
}

// Load makes a configuration from flags over environment (APRON_*) over file over defaults. flags
// holds those that were given, by name; an empty fileName means no file. Unknown keys in the file
// are errors, so that a misspelt one is not silently without effect.
func Load(fileName string, flags map[string]any) (Config, error) {
	k := koanf.New("\x00") // no key holds it: mirrors are host names, which have dots
	if err := k.Load(confmap.Provider(defaults(), "\x00"), nil); err != nil {
		return Config{}, fmt.Errorf("load defaults: %w", err)
	}
	known := map[string]bool{"mirrors": true, "insecure-registries": true, "quotas": true, "builds": true, "registry-credentials": true, "certificates": true}
	for name := range defaults() {
		known[name] = true
	}
	if fileName != "" {
		if err := loadFile(k, fileName, known); err != nil {
			return Config{}, err
		}
	}
	fromEnv := env.Provider("\x00", env.Opt{Prefix: "APRON_", TransformFunc: func(name, value string) (string, any) {
		name = strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, "APRON_")), "_", "-")
		if value == "" || !known[name] || name == "mirrors" || name == "quotas" || name == "builds" || name == "registry-credentials" || name == "certificates" {
			return "", nil
		}
		return name, value
	}})
	if err := k.Load(fromEnv, nil); err != nil {
		return Config{}, fmt.Errorf("load environment: %w", err)
	}
	if err := k.Load(confmap.Provider(flags, "\x00"), nil); err != nil {
		return Config{}, fmt.Errorf("load flags: %w", err)
	}
	c, err := decode(k)
	if err == nil && fileName != "" {
		c.file, err = filepath.Abs(fileName)
	}
	return c, err
}

func loadFile(k *koanf.Koanf, name string, known map[string]bool) error {
	f := koanf.New("\x00")
	if err := f.Load(file.Provider(name), yaml.Parser()); err != nil {
		return fmt.Errorf("read configuration file %s: %w", name, err)
	}
	for key := range f.Raw() {
		if !known[key] {
			return fmt.Errorf("configuration file %s: unknown key %q", name, key)
		}
	}
	return k.Merge(f)
}

func decode(k *koanf.Koanf) (Config, error) {
	var c Config
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}})
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return Config{}, fmt.Errorf("data directory: %w", err)
	}
	// `apron env` exports the router's base URLs under the names of these two flags' variables.
	c.HTTP, c.HTTPS = strings.TrimPrefix(c.HTTP, "http://"), strings.TrimPrefix(c.HTTPS, "https://")
	return c, c.validate()
}

var (
	domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
)

// maxDomain leaves room for <10 characters>.<63 characters>. in a host name of 253 (RFC 1035, 2.3.4).
const maxDomain = 253 - 11 - 64

func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for name, addr := range map[string]string{"listen": c.Listen, "http": c.HTTP, "https": c.HTTPS} {
		_, port, err := net.SplitHostPort(addr)
		n, numErr := strconv.Atoi(port)
		check(err == nil && numErr == nil && n >= 0 && n <= 65535, "%s: %q is not host:port", name, addr)
	}
	check(len(c.Domain) <= maxDomain && domainName.MatchString(c.Domain), "domain: %q is not a lower-case domain name", c.Domain)
	check(apron.ValidRegion(c.Region), "region: %q is not a region name", c.Region)
	check(accountID.MatchString(c.Account), "account: %q is not 12 digits", c.Account)
	check(c.StartWindow > 0 && c.StartWindow <= 15*time.Minute, "start-window: %s is not between 0 and 15m", c.StartWindow)
	check(c.Runtime == apron.RuntimeRunc || c.Runtime == apron.RuntimeGVisor, "runtime: %q is neither runc nor gvisor", c.Runtime)
	check(slices.Contains([]string{"", "yes", "no"}, c.LocalRepositories), "local-repositories: %q is neither yes nor no", c.LocalRepositories)
	check(c.Operations > 0, "operations: %d is not a positive number", c.Operations)
	for i, files := range c.Certificates {
		check(filepath.IsAbs(files.Cert) && filepath.IsAbs(files.Key), "certificates: entry %d: cert and key must be absolute paths", i+1)
	}
	check(c.PollInterval == 0 || c.PollInterval >= time.Second, "poll-interval: %s is neither 0 nor a second or more", c.PollInterval)
	check(c.Revisions > 0, "revisions: %d is not a positive number", c.Revisions)
	check(c.RegistryMinFreeMiB >= 0, "registry-min-free-mib: %d is not a number from 0", c.RegistryMinFreeMiB)
	check(c.MaxImageMiB > 0, "max-image-mib: %d is not a positive number", c.MaxImageMiB)
	check(c.MaxUnpackedMiB > 0, "max-unpacked-mib: %d is not a positive number", c.MaxUnpackedMiB)
	check(c.GitRepositoryMiB > 0, "git-repository-mib: %d is not a positive number", c.GitRepositoryMiB)
	for host, credential := range c.RegistryCredentials {
		err := credential.validate()
		check(err == nil, "registry-credentials: %s: %v", host, err)
	}
	names := quotaNames(&apron.Quotas{})
	for name, limit := range c.Quotas {
		check(names[name] != nil && limit >= 0, "quotas: %q: %d is not a quota and a number from 0", name, limit)
	}
	b := c.Builds
	check(b.MemoryMiB >= 0 && b.Parallel >= 0 && b.CacheGiB >= 0 && b.DiskGiB >= 0 && b.Timeout >= 0, "builds: no limit may be negative")
	check(c.Store == "" || strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://"),
		"store: only postgres:// URLs are known")
	if len(errs) > 0 {
		return fmt.Errorf("configuration: %w", errors.Join(errs...))
	}
	return nil
}

// ConfigFile returns the file to read when none was named: apron.yaml in the data directory if it
// is there.
func ConfigFile(data string) string {
	if data == "" {
		data = defaultData()
	}
	name := filepath.Join(data, "apron.yaml")
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return name
}
