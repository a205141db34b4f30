package deploy

import "apron/operation"

// start is START_DEPLOYMENT: instances of the newest version of the source take the place of those
// that serve, also when the version is the same. When it fails the old ones serve on.
func (d *deployer) start() operation.Plan {
	return d.rollout(d.endRollout("Deployment completed successfully.", "Deployment failed. For details, see service logs."))
}
