package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"apron"
	"apron/store"
)

const (
	// credentialsFile holds the administrator's key, below the data directory.
	credentialsFile = "credentials.json"
	// maxCredentials bounds what is read of it, in bytes.
	maxCredentials = 64 << 10
)

// credentials is the form of credentialsFile.
type credentials struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	Account         string    `json:"account"`
	Principal       string    `json:"principal"`
	CreatedAt       time.Time `json:"created_at"`
}

// EnsureAdministrator returns the administrator's key of a data directory. The first call makes one
// for the account and keeps it in the directory, in credentials.json, readable by its owner alone;
// later calls return that one, whatever the account. The store has the key too when it returns: a
// file that is not in the store, as after moving to another database, is put there. It is an error
// if the store has the key with another secret.
func (a *Auth) EnsureAdministrator(ctx context.Context, dataDir *os.Root, account string) (apron.AccessKey, error) {
	key, err := loadAdministrator(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = a.makeAdministrator(dataDir, account)
	}
	if err != nil {
		return apron.AccessKey{}, err
	}
	err = a.Insert(ctx, key)
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, store.ErrExists) {
		return apron.AccessKey{}, fmt.Errorf("store the administrator's access key: %w", err)
	}
	kept, err := a.store.AccessKey(ctx, key.ID)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("read the administrator's access key: %w", err)
	}
	if kept.Secret != key.Secret {
		return apron.AccessKey{}, fmt.Errorf("access key %s in %s is not the one in the store", key.ID, credentialsFile)
	}
	return kept, nil
}

// LoadAdministrator returns the administrator's key of the data directory named dataDir, for
// commands on the same machine. The error is fs.ErrNotExist if there was no first start yet.
func LoadAdministrator(dataDir string) (apron.AccessKey, error) {
	root, err := os.OpenRoot(dataDir)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("open data directory: %w", err)
	}
	defer root.Close()
	return loadAdministrator(root)
}

func loadAdministrator(dir *os.Root) (apron.AccessKey, error) {
	f, err := dir.Open(credentialsFile)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("open credentials: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCredentials))
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	var c credentials
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	// The error of the decoder may quote the secret.
	if d.Decode(&c) != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" || c.Account == "" || c.Principal == "" {
		return apron.AccessKey{}, fmt.Errorf("read %s: it is damaged", f.Name())
	}
	return apron.AccessKey{
		ID: c.AccessKeyID, Secret: c.SecretAccessKey, Account: c.Account, Principal: c.Principal, CreatedAt: c.CreatedAt,
	}, nil
}

// makeAdministrator makes the key and writes the file. The file comes before the store: a key that
// only the store had could not be used by anybody.
func (a *Auth) makeAdministrator(dir *os.Root, account string) (apron.AccessKey, error) {
	key, err := NewAccessKey(rand.Reader, account, "arn:aws:iam::"+account+":user/administrator")
	if err != nil {
		return apron.AccessKey{}, err
	}
	key.CreatedAt = time.UnixMicro(a.now().UnixMicro()).UTC() // as the store keeps it
	b, err := json.MarshalIndent(credentials{
		AccessKeyID: key.ID, SecretAccessKey: key.Secret, Account: key.Account, Principal: key.Principal, CreatedAt: key.CreatedAt,
	}, "", "  ")
	if err != nil {
		return apron.AccessKey{}, errors.New("encode credentials")
	}
	if err := writeFile(dir, credentialsFile, append(b, '\n')); err != nil {
		return apron.AccessKey{}, fmt.Errorf("write %s: %w", credentialsFile, err)
	}
	return key, nil
}

// writeFile writes a file that is there in full or not at all, also after a power cut.
func writeFile(dir *os.Root, name string, content []byte) error {
	temp := name + ".new"
	if err := dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// O_EXCL: the mode holds only for a file that is made here.
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := dir.Rename(temp, name); err != nil {
		return err
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
