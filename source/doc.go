// Package source turns what a service names as its source into something pinned: an image reference
// into a digest, and a binary or an archive into an image in a registry.
//
// [ParseReference] reads any OCI image reference. A [Resolver] asks the registry behind a reference
// which digest it means now, checks that it can run here, and returns an apron.Image that means the
// same for good; [Resolver.Locate] says where an engine pulls that image from. Names of an account's
// own ECR repositories lead to the embedded registry, everything else to where it says, or to the
// mirror configured for that host.
//
// For services from source code a [Git] finds and fetches the commit at the head of a branch with the
// system's git, in an environment that nothing else configures, and exports its files;
// [ParseConfiguration] reads their apprunner.yaml.
//
// In the walk of CreateService it is the first step of package deploy, before fleet and engine.
package source
