package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"apron"
	"apron/auth"
	"apron/control"
	"apron/source"
	"apron/store"
)

// Admin is what the API does not offer, for commands on the same machine: access keys, and the
// handshake of connections. It works on the store, with or without a running server; a server sees
// a change at its next look, because it asks the store each time. Close it.
type Admin struct {
	local   Local
	store   *store.Store
	auth    *auth.Auth
	control *control.Control
	domain  string // of the server's services
}

// OpenAdmin opens the store of the server with the configuration, which must have been started
// once.
func OpenAdmin(ctx context.Context, cfg Config) (*Admin, error) {
	local, err := OpenLocal(cfg.Data)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, cfg.dsn())
	if err != nil {
		return nil, err
	}
	return &Admin{
		local: local, store: s, auth: auth.New(s, time.Now),
		control: control.New(control.Config{Store: s, Domain: cfg.Domain, Wake: func() {}}),
		domain:  cfg.Domain,
	}, nil
}

// Close closes the store.
func (a *Admin) Close() error { return a.store.Close() }

// CreateKey makes an access key of the account ("": the administrator's) for the principal ("": the
// account's root user). Its secret cannot be read again by a client.
func (a *Admin) CreateKey(ctx context.Context, account, principal string) (apron.AccessKey, error) {
	if account == "" {
		account = a.local.Account
	}
	if !accountID.MatchString(account) {
		return apron.AccessKey{}, fmt.Errorf("account %q is not 12 digits", account)
	}
	if principal == "" {
		principal = "arn:aws:iam::" + account + ":root"
	}
	key, err := auth.NewAccessKey(rand.Reader, account, principal)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("make access key: %w", err)
	}
	key.CreatedAt = time.Now()
	if err := a.auth.Insert(ctx, key); err != nil {
		return apron.AccessKey{}, fmt.Errorf("save access key: %w", err)
	}
	return key, nil
}

// Keys returns the access keys of the account, oldest first; "": the administrator's account.
func (a *Admin) Keys(ctx context.Context, account string) ([]apron.AccessKey, error) {
	if account == "" {
		account = a.local.Account
	}
	return a.store.AccessKeys(ctx, account)
}

// SetKeyDisabled disables an access key or enables it again. The next request signed with a
// disabled key is refused.
func (a *Admin) SetKeyDisabled(ctx context.Context, id string, disabled bool) error {
	if err := a.spareOwn(id); err != nil {
		return err
	}
	return keyError(id, a.auth.SetDisabled(ctx, id, disabled))
}

// DeleteKey removes an access key for good.
func (a *Admin) DeleteKey(ctx context.Context, id string) error {
	if err := a.spareOwn(id); err != nil {
		return err
	}
	return keyError(id, a.auth.Delete(ctx, id))
}

// spareOwn refuses to take away the key that Apron itself pulls images and works with.
func (a *Admin) spareOwn(id string) error {
	if id == a.local.Key.ID {
		return fmt.Errorf("%s is the administrator's key, which Apron itself uses (credentials.json in %s)", id, a.local.Data)
	}
	return nil
}

func keyError(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no access key %s", id)
	}
	return err
}

// CompleteConnection makes a connection of the administrator's account and region AVAILABLE, with the
// credential, and hosts for its token. Both may be zero: what there was stays.
func (a *Admin) CompleteConnection(ctx context.Context, name string, credential source.GitCredential, hosts []string) (apron.Connection, error) {
	c := control.Completion{Hosts: hosts}
	if credential.User != "" || credential.Token != "" || credential.SSHKey != "" {
		if err := source.CheckGitCredential(credential); err != nil {
			return apron.Connection{}, err
		}
		keys, err := openKeys(a.local.Data)
		if err != nil {
			return apron.Connection{}, err
		}
		c.Seal = func(arn apron.ARN) (string, error) { return sealCredential(keys, arn, credential) }
	}
	return a.control.CompleteConnection(ctx, apron.Scope{Account: a.local.Account, Region: a.local.Region}, name, c)
}

// TokenHosts returns where the token of a connection goes, by the connection's full ARN.
func (a *Admin) TokenHosts(ctx context.Context) (map[string]apron.TokenHosts, error) {
	list, _, err := a.control.Connections(ctx, apron.Scope{Account: a.local.Account, Region: a.local.Region}, "", control.Page{})
	if err != nil {
		return nil, err
	}
	hosts := map[string]apron.TokenHosts{}
	for _, conn := range list {
		hosts[conn.ARN.String()] = conn.TokenHosts(control.BelowLocalhost(a.domain))
	}
	return hosts, nil
}
