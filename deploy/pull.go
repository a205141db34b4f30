package deploy

import (
	"errors"
	"fmt"
	"time"

	"apron"
	"apron/source"
)

const (
	// progressAfter is how long a pull may take before its progress is told, and progressEvery how often
	// it is told from then on.
	progressAfter, progressEvery = 3 * time.Second, 10 * time.Second
	// registryTries is how often a step tries a registry that cannot be asked. Within each try every
	// request is sent several times already.
	registryTries = 3
)

// pulling returns what tells the operation's log how far a pull has come. One that is over soon tells
// nothing.
func (d *deployer) pulling(op apron.Operation) func(done, total int64) {
	next := d.Now().Add(progressAfter)
	told := int64(-1)
	return func(done, total int64) {
		now := d.Now()
		if done == told || total <= 0 || now.Before(next) && (done < total || told < 0) {
			return
		}
		next, told = now.Add(progressEvery), done
		d.detail(op, fmt.Sprintf("Pulling your application image: %d of %d MB (%d%%).", done/1e6, total/1e6, 100*done/total))
	}
}

// passing tells the operation's log of trouble with a registry that may pass, and makes it what the
// operation fails with once there was enough of it. Other errors are returned as they are.
func (d *deployer) passing(op apron.Operation, err error) error {
	trouble, ok := errors.AsType[*source.UnavailableError](err)
	if !ok {
		return err
	}
	if op.Attempt >= registryTries {
		return &apron.Fault{Kind: apron.Invalid, Msg: trouble.Msg, Err: err}
	}
	d.detail(op, trouble.Msg+" Trying again.")
	return err
}
