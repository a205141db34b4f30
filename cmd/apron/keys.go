package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"apron/server"
)

type keysCommand struct {
	Create  createKeyCommand  `cmd:"" help:"Make an access key and print it, with its secret."`
	List    listKeysCommand   `cmd:"" help:"List access keys, without their secrets."`
	Disable disableKeyCommand `cmd:"" help:"Refuse an access key from now on."`
	Enable  enableKeyCommand  `cmd:"" help:"Accept a disabled access key again."`
	Delete  deleteKeyCommand  `cmd:"" help:"Remove an access key for good."`
}

// admin runs do with the store of the server on this machine.
func (s *settings) admin(do func(ctx context.Context, a *server.Admin) error) (err error) {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	a, err := server.OpenAdmin(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return do(ctx, a)
}

type createKeyCommand struct {
	Of        string `name:"of" placeholder:"ACCOUNT" help:"Account the key belongs to, 12 digits. Default: the administrator's."`
	Principal string `placeholder:"ARN" help:"Who signs with it. Default: the account's root user."`
}

// Run makes the key and prints it as shell lines.
func (c *createKeyCommand) Run(s *settings) error {
	return s.admin(func(ctx context.Context, a *server.Admin) error {
		key, err := a.CreateKey(ctx, c.Of, c.Principal)
		if err != nil {
			return err
		}
		fmt.Printf("export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n", quote(key.ID), quote(key.Secret))
		return nil
	})
}

type listKeysCommand struct {
	Of string `name:"of" placeholder:"ACCOUNT" help:"Account whose keys to list. Default: the administrator's."`
}

// Run prints a line per key.
func (c *listKeysCommand) Run(s *settings) error {
	return s.admin(func(ctx context.Context, a *server.Admin) error {
		keys, err := a.Keys(ctx, c.Of)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KEY\tACCOUNT\tPRINCIPAL\tSTATUS\tCREATED\tLAST USED")
		for _, k := range keys {
			status := "active"
			if k.Disabled {
				status = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Account, k.Principal, status, moment(k.CreatedAt), moment(k.LastUsedAt))
		}
		return w.Flush()
	})
}

// moment prints a time for people; the zero time is one that never was.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type disableKeyCommand struct {
	ID string `arg:"" help:"Access key id."`
}

// Run disables the key.
func (c *disableKeyCommand) Run(s *settings) error {
	return s.admin(func(ctx context.Context, a *server.Admin) error { return a.SetKeyDisabled(ctx, c.ID, true) })
}

type enableKeyCommand struct {
	ID string `arg:"" help:"Access key id."`
}

// Run enables the key.
func (c *enableKeyCommand) Run(s *settings) error {
	return s.admin(func(ctx context.Context, a *server.Admin) error { return a.SetKeyDisabled(ctx, c.ID, false) })
}

type deleteKeyCommand struct {
	ID string `arg:"" help:"Access key id."`
}

// Run deletes the key.
func (c *deleteKeyCommand) Run(s *settings) error {
	return s.admin(func(ctx context.Context, a *server.Admin) error { return a.DeleteKey(ctx, c.ID) })
}
