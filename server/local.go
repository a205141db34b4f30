package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"apron"
	"apron/auth"
	"apron/logs"
	"apron/source"
)

// endpoints is where a running server listens, as it is kept in the data directory for the
// commands on the same machine.
type endpoints struct {
	Listen  string `json:"listen"`
	HTTP    string `json:"http"`
	HTTPS   string `json:"https"`
	Region  string `json:"region"`
	Domain  string `json:"domain"`
	Account string `json:"account"`
}

func endpointsPath(data string) string { return filepath.Join(data, "run", "server.json") }

// writeEndpoints replaces the file in one step, so that no reader sees half of it.
func writeEndpoints(cfg Config, e endpoints) error {
	e.Region, e.Domain, e.Account = cfg.Region, cfg.Domain, cfg.Account
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("encode endpoints: %w", err)
	}
	name := endpointsPath(cfg.Data)
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	return nil
}

// Local is a server on this machine as its data directory describes it: what a command needs to
// talk to it as its administrator.
type Local struct {
	Data    string
	Listen  string // host:port of the API listener
	HTTP    string // host:port of the router's plain listener
	HTTPS   string // host:port of the router's TLS listener
	Region  string
	Domain  string
	Account string
	Key     apron.AccessKey // the administrator's; sensitive
}

// OpenLocal reads the description of the server in the data directory. The server need not run at
// the moment, but must have been ready once since it was last started.
func OpenLocal(data string) (Local, error) {
	b, err := os.ReadFile(endpointsPath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return Local{}, fmt.Errorf("no server has been started with the data directory %s, or it is not ready yet", data)
	}
	if err != nil {
		return Local{}, fmt.Errorf("read endpoints: %w", err)
	}
	var e endpoints
	if err := json.Unmarshal(b, &e); err != nil {
		return Local{}, fmt.Errorf("read endpoints: %w", err)
	}
	key, err := auth.LoadAdministrator(data)
	if err != nil {
		return Local{}, fmt.Errorf("administrator key: %w", err)
	}
	return Local{
		Data: data, Listen: e.Listen, HTTP: e.HTTP, HTTPS: e.HTTPS,
		Region: e.Region, Domain: e.Domain, Account: e.Account, Key: key,
	}, nil
}

// Events returns the newest events of a service, oldest first, at most limit of them (0: all).
func (l Local) Events(id apron.ServiceID, limit int) ([]logs.Event, error) {
	s, err := logs.Open(serviceLogDir(l.Data))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Read(logs.Stream{Service: id, Name: logs.Events}, limit)
}

// URL returns the URL under which a service's default domain answers on this machine.
func (l Local) URL(host string) string { return "http://" + host + ":" + port(l.HTTP) }

// Push uploads the static binary or image archive in file to repository[:tag] of the embedded
// registry. It returns the name App Runner has for it, and the digest of what was pushed.
func (l Local) Push(ctx context.Context, file, repository string, port uint16) (image, digest string, err error) {
	archive, err := source.Load(file, source.PackOptions{Port: port})
	if err != nil {
		return "", "", fmt.Errorf("load %s: %w", file, err)
	}
	defer archive.Close()
	digest, err = source.Push(ctx, archive.Image, "http://"+l.Listen+"/"+repository, l.Key.ID, l.Key.Secret)
	if err != nil {
		return "", "", fmt.Errorf("push to %s: %w", repository, err)
	}
	return fmt.Sprintf("%s.dkr.ecr.%s.amazonaws.com/%s", l.Account, l.Region, repository), digest, nil
}
