// Package registry is the embedded OCI registry: what `docker push` and every other OCI client talk
// to at /v2/ of the API listener.
//
// It puts access keys, accounts and limits around the handlers of the distribution project, which
// speak the protocol. Each account has a store of its own below [Config.Dir], so one account can
// neither see, mount nor guess at what another pushed. A push is announced through [Config.OnPush],
// where automatic deployments start. What no image refers to any more is removed once it is a day old,
// and no push takes the last of the disk.
//
// In the walk of a deployment it stands before package source, which resolves a tag to the digest
// stored here, and before the engine, which pulls that digest from here.
package registry
