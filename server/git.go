package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apron"
	"apron/control"
	"apron/deploy"
	"apron/githost"
	"apron/secrets"
	"apron/source"
	"apron/store"
)

// openGit makes the embedded Git host and what reads repositories there and elsewhere.
func (cp *controlPlane) openGit(ctx context.Context) error {
	var err error
	if cp.keys, err = openKeys(cp.cfg.Data); err != nil {
		return err
	}
	// What a server before this one was fetching when it ended is of no use.
	if err := os.RemoveAll(filepath.Join(cp.cfg.Data, "git", "checkout")); err != nil {
		return fmt.Errorf("remove old source code: %w", err)
	}
	cp.githost, err = githost.New(ctx, githost.Config{
		Dir: filepath.Join(cp.cfg.Data, "git", "host"),
		Authenticate: func(ctx context.Context, user, password string) (string, bool, error) {
			key, ok := cp.auth.CheckBasic(ctx, user, password)
			return key.Account, ok, nil
		},
		OnPush:   cp.pushed,
		MaxBytes: cp.cfg.GitRepositoryMiB << 20,
		Log:      cp.log.With("part", "git"),
	})
	if err != nil {
		return err
	}
	cp.git, err = source.NewGit(source.GitConfig{
		Dir: filepath.Join(cp.cfg.Data, "git", "source"), AllowLocal: cp.cfg.AllowsLocalRepositories(), Embedded: cp.embeddedRepository,
	})
	return err
}

// buildTime is how much longer operations may take that build.
func (c Config) buildTime() time.Duration {
	if c.Builds.Timeout > 0 {
		return c.Builds.Timeout
	}
	return deploy.BuildTime
}

// openKeys finds the keys with which the server encrypts what is in the store, or makes them.
func openKeys(data string) (*secrets.Keyset, error) {
	root, err := os.OpenRoot(data)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	defer root.Close()
	return secrets.Open(root, "keys.json")
}

// embeddedRepository returns where the repository is that a URL names, if it leads to this server.
func (cp *controlPlane) embeddedRepository(account string, u *url.URL) (dir string, ok bool) {
	name, ok := githost.Name(u.Path)
	if !ok || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	dir = cp.githost.Dir(account, name)
	switch {
	case cp.listensAt(u.Host):
		return dir, true
	case cp.listenedAt(u.Host): // somebody else may be there now, but not with our repositories
		return dir, cp.githost.Exists(account, name)
	default:
		return "", false
	}
}

// listensAt reports whether host:port is the API's listener: by the name it was given, or by one of
// loopback's.
func (cp *controlPlane) listensAt(host string) bool {
	own := cp.listener.Addr().String()
	return strings.EqualFold(host, cp.cfg.Listen) || sameListener(host, own)
}

// listenedAt reports whether host:port was the API's listener before a restart.
func (cp *controlPlane) listenedAt(host string) bool {
	return slices.ContainsFunc(cp.former, func(at string) bool { return sameListener(host, at) })
}

// sameListener reports whether host:port reaches a listener of this machine, with its address or one of
// loopback's.
func sameListener(host, own string) bool {
	if host == own {
		return true
	}
	name, p, err := net.SplitHostPort(host)
	if err != nil || p != port(own) {
		return false
	}
	a, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && a.Unmap().IsLoopback()
}

// pushTimeout bounds what a push waits for, beside the push itself.
const pushTimeout = 20 * time.Second

// pushed deploys the services that follow a branch somebody has just pushed to the embedded Git host,
// if the push changes something below their source directory. It returns what the person is told.
func (cp *controlPlane) pushed(ctx context.Context, push githost.Push) (said []string) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	followed, err := cp.store.FollowedBranches(ctx)
	if err != nil {
		cp.log.Error("find out who follows what was pushed", "err", err)
		return []string{"The push is stored, but nothing could be deployed: the store cannot be read."}
	}
	for _, update := range push.Updates {
		if update.Branch() == "" || update.New == "" {
			continue
		}
		some := false
		for _, f := range followed {
			if f.Scope.Account == push.Account && f.Branch == update.Branch() && cp.names(f.URL, push.Repository) {
				some = true
				said = append(said, cp.deployPushed(ctx, f, update)...)
			}
		}
		if !some {
			said = append(said, fmt.Sprintf("No service is deployed by pushes to branch %s of %s.", update.Branch(), push.Repository))
		}
	}
	return said
}

// names reports whether a URL names the repository on this server.
func (cp *controlPlane) names(address, repository string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	name, ok := githost.Name(u.Path)
	return ok && name == repository && (cp.listensAt(u.Host) || cp.listenedAt(u.Host))
}

// deployPushed deploys one service and says so.
func (cp *controlPlane) deployPushed(ctx context.Context, f apron.FollowedBranch, update githost.Update) []string {
	svc, err := cp.store.Service(ctx, f.Service)
	if err == nil {
		var line string
		if line, err = cp.deployUpdate(ctx, f, svc, update); err == nil {
			return []string{line, "  watch:   apron logs " + svc.Name, "  address: " + cp.serviceURL(svc)}
		}
	}
	var fault *apron.Fault
	switch {
	case errors.Is(err, errUnchanged):
		return []string{fmt.Sprintf("Service %s stays as it is: nothing has changed in %s.", svc.Name, f.SourceDirectory)}
	case errors.As(err, &fault):
		return []string{fmt.Sprintf("Service %s is not deployed: %s", svc.Name, fault.Msg)}
	default:
		cp.log.Error("deploy what was pushed", "service", f.Service, "err", err)
		return []string{fmt.Sprintf("Service %s could not be deployed.", f.Service)}
	}
}

var errUnchanged = errors.New("nothing has changed in the source directory")

func (cp *controlPlane) deployUpdate(ctx context.Context, f apron.FollowedBranch, svc apron.Service, update githost.Update) (said string, err error) {
	tree, err := cp.git.Fetch(ctx, source.GitRepository{Account: f.Scope.Account, URL: f.URL, Branch: f.Branch})
	if err != nil {
		return "", err
	}
	defer tree.Close()
	version, err := tree.At(update.New).Version(ctx, f.SourceDirectory)
	if err != nil {
		return "", err
	}
	if update.Old != "" {
		if before, err := tree.At(update.Old).Version(ctx, f.SourceDirectory); err == nil && before == version {
			return "", errUnchanged
		}
	}
	op, err := cp.control.AutoDeploy(ctx, f.Service, version)
	switch {
	case err != nil:
		return "", err
	case op != "":
		return fmt.Sprintf("Deploying commit %.7s to service %s.", update.New, svc.Name), nil
	case svc.Status == apron.ServiceOperationInProgress:
		return fmt.Sprintf("Service %s will be deployed once its operation in progress has ended.", svc.Name), nil
	case svc.Status == apron.ServiceCreateFailed:
		return fmt.Sprintf("Service %s is %s and not deployed: update the service to have it built again.", svc.Name, svc.Status), nil
	default:
		return fmt.Sprintf("Service %s is %s and not deployed.", svc.Name, svc.Status), nil
	}
}

// serviceURL is the address of a service on this machine.
func (cp *controlPlane) serviceURL(svc apron.Service) string {
	if bound := cp.bound.Load(); bound != nil {
		return "http://" + svc.Host + ":" + port(bound.HTTP)
	}
	return svc.Host
}

// storedCredential is a source.GitCredential as it is sealed.
type storedCredential struct {
	User   string `json:"user,omitempty"`
	Token  string `json:"token,omitempty"`
	SSHKey string `json:"ssh_key,omitempty"`
}

func credentialPurpose(arn apron.ARN) string { return "connection/" + arn.ID }

func sealCredential(keys *secrets.Keyset, arn apron.ARN, c source.GitCredential) (string, error) {
	b, err := json.Marshal(storedCredential{User: c.User, Token: c.Token, SSHKey: c.SSHKey})
	if err != nil {
		return "", fmt.Errorf("encode credential: %w", err)
	}
	return keys.Seal(credentialPurpose(arn), b)
}

// credential returns what opens the repositories of a connection.
func (cp *controlPlane) credential(ctx context.Context, connection string) (source.GitCredential, error) {
	arn, err := apron.ParseARN(connection)
	if err != nil {
		return source.GitCredential{}, err
	}
	conn, sealed, err := cp.store.ConnectionCredential(ctx, arn)
	if errors.Is(err, store.ErrNotFound) {
		return source.GitCredential{}, apron.Faultf(apron.Invalid, "The connection %s does not exist any more.", connection)
	}
	if err != nil || sealed == "" {
		return source.GitCredential{}, err
	}
	b, err := cp.keys.Open(credentialPurpose(arn), sealed)
	if err != nil {
		return source.GitCredential{}, &apron.Fault{
			Kind: apron.Invalid, Err: err,
			Msg: fmt.Sprintf("The credential of connection %s cannot be read with this server's keys: complete the connection again.", connection),
		}
	}
	var c storedCredential
	if err := json.Unmarshal(b, &c); err != nil {
		return source.GitCredential{}, errors.New("decode credential") // nothing of it
	}
	hosts := conn.TokenHosts(control.BelowLocalhost(cp.cfg.Domain))
	return source.GitCredential{User: c.User, Token: c.Token, SSHKey: c.SSHKey, Hosts: hosts}, nil
}
