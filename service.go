package apron

import (
	"slices"
	"strconv"
	"time"
)

// ServiceID identifies a service for good: 32 lower-case hex digits, the last part of its ARN.
type ServiceID string

// ServiceStatus is where a service stands (API shape ServiceStatus).
type ServiceStatus string

// The service statuses. DELETED and DELETE_FAILED are terminal but for another delete.
const (
	ServiceCreateFailed        ServiceStatus = "CREATE_FAILED"
	ServiceRunning             ServiceStatus = "RUNNING"
	ServiceDeleted             ServiceStatus = "DELETED"
	ServiceDeleteFailed        ServiceStatus = "DELETE_FAILED"
	ServicePaused              ServiceStatus = "PAUSED"
	ServiceOperationInProgress ServiceStatus = "OPERATION_IN_PROGRESS"
)

// Service is one App Runner service.
//
// Config is what Describe shows: the requested configuration while an operation runs, the active
// one afterwards. Active and Candidate say which revisions exist in the engine.
type Service struct {
	ID     ServiceID
	Scope  Scope
	Name   string // 4-40 characters, unique in the scope among services that are not going away
	Host   string // default domain: host name only, no scheme, no port
	Status ServiceStatus
	Config ServiceConfiguration
	Active RevisionID // serves requests; empty: none
	// Candidate is the revision being deployed by the operation in progress; once the deployment
	// has switched routes, the one it replaced, until the operation ends; empty: none.
	Candidate RevisionID
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero unless Status is ServiceDeleted
}

// ARN returns the service's full ARN.
func (s Service) ARN() ARN {
	return ARN{Scope: s.Scope, Type: ResourceService, Name: s.Name, ID: string(s.ID)}
}

// Allows reports whether an operation of type t may start in status s (App Runner developer
// guide, "service statuses"; reference/behaviour.md §1.1).
func (s ServiceStatus) Allows(t OperationType) bool {
	switch t {
	case OperationUpdate:
		return s == ServiceRunning || s == ServiceCreateFailed
	case OperationStartDeployment, OperationPause:
		return s == ServiceRunning
	case OperationResume:
		return s == ServicePaused
	case OperationDelete:
		return s == ServiceRunning || s == ServicePaused || s == ServiceCreateFailed || s == ServiceDeleteFailed
	default: // OperationCreate makes the service, it never meets one
		return false
	}
}

// ServiceConfiguration is everything a client can configure about a service. A value that has
// passed Defaulted and Validate has every member filled that Describe shows.
type ServiceConfiguration struct {
	Source        SourceConfiguration
	Instance      InstanceConfiguration
	HealthCheck   HealthCheck
	Network       NetworkConfiguration
	Observability *ServiceObservability // nil: never configured, not shown
	AutoScaling   ARN                   // full ARN of an auto scaling configuration revision
	KMSKey        string                // ARN of the customer's key; empty: Apron's own
	// Extensions is what the service's tags asked for when its revision was made. It is no part of
	// what a client configures or is shown.
	Extensions Extensions
}

// SourceConfiguration says where a service's code comes from: exactly one of Image and Code.
type SourceConfiguration struct {
	Image           *ImageRepository
	Code            *CodeRepository
	AutoDeployments bool
	AccessRoleARN   string // empty: absent
	ConnectionARN   string // empty: absent
}

// ImageRepositoryType tells a private registry from a public one (API shape ImageRepositoryType).
type ImageRepositoryType string

// The image repository types.
const (
	ImageRepositoryECR       ImageRepositoryType = "ECR"
	ImageRepositoryECRPublic ImageRepositoryType = "ECR_PUBLIC"
)

// ImageRepository is an image as the client named it, and how to run it.
type ImageRepository struct {
	Identifier string // any OCI image reference
	Type       ImageRepositoryType
	Run        RunConfiguration
}

// FollowedImage is an image whose pushes deploy a service: AutoDeployments is set.
type FollowedImage struct {
	Service    ServiceID
	Scope      Scope
	Identifier string // as in ImageRepository; one with a digest never changes
}

// FollowedBranch is a branch whose pushes deploy a service: AutoDeployments is set.
type FollowedBranch struct {
	Service         ServiceID
	Scope           Scope
	URL             string
	Branch          string
	SourceDirectory string
	ConnectionARN   string // empty: none is needed
}

// CodeRepository is source code as the client named it, and how to build and run it.
type CodeRepository struct {
	URL                 string
	Branch              string
	SourceDirectory     string // as sent; "/" when absent
	ConfigurationSource string // ConfigurationFromAPI or ConfigurationFromRepository
	// Values is the build configuration a client sent; nil: absent. It counts with
	// ConfigurationFromAPI alone, and is kept and shown in any case.
	Values *CodeConfigurationValues
}

// The places a build configuration can come from (API enum ConfigurationSource).
const (
	ConfigurationFromAPI        = "API"        // CodeConfigurationValues
	ConfigurationFromRepository = "REPOSITORY" // apprunner.yaml in the source directory
)

// CodeConfigurationValues is a build configuration given by the API instead of apprunner.yaml.
type CodeConfigurationValues struct {
	Runtime      string // API enum Runtime
	BuildCommand string // sensitive; empty: absent
	Run          RunConfiguration
}

// RunConfiguration says how one process of the application is started. Its commands, names and
// values are sensitive: never log them.
type RunConfiguration struct {
	Port         string // decimal 1-65535; "8080" by default
	StartCommand string // empty: what the image says
	Env          map[string]string
	Secrets      map[string]string // variable name to secret or parameter ARN
}

// PortNumber returns the port as a number. A configuration that passed Validate always has one.
func (r RunConfiguration) PortNumber() uint16 {
	n, err := strconv.ParseUint(r.Port, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// Run returns how the application is started, whichever kind of source it has. It is zero for a
// service whose configuration is in its repository.
func (s SourceConfiguration) Run() RunConfiguration {
	switch {
	case s.Image != nil:
		return s.Image.Run
	case s.Code != nil && s.Code.Values != nil && s.Code.ConfigurationSource == ConfigurationFromAPI:
		return s.Code.Values.Run
	default:
		return RunConfiguration{}
	}
}

// InstanceConfiguration is the size of one instance.
type InstanceConfiguration struct {
	MilliCPU  int    // 250, 500, 1000, 2000 or 4000
	MemoryMiB int    // as allowed for the CPU
	RoleARN   string // empty: no instance role
}

// memoryFor returns the memory sizes (MiB) App Runner allows for a CPU size, none for one it does not
// offer (developer guide, "supported configurations").
func memoryFor(milliCPU int) []int {
	switch milliCPU {
	case 250:
		return []int{512, 1024}
	case 500:
		return []int{1024}
	case 1000:
		return []int{2048, 3072, 4096}
	case 2000:
		return []int{4096, 6144}
	case 4000:
		return []int{8192, 10240, 12288}
	default:
		return nil
	}
}

// Validate reports a CPU and memory pair that App Runner does not offer, as an Invalid Fault.
func (c InstanceConfiguration) Validate() error {
	if !slices.Contains(memoryFor(c.MilliCPU), c.MemoryMiB) {
		return Faultf(Invalid, "Invalid combination of Cpu and Memory: %d CPU units with %d MB. Memory sizes for this Cpu: %v",
			c.MilliCPU*1024/1000, c.MemoryMiB, memoryFor(c.MilliCPU))
	}
	return nil
}

// HealthCheckProtocol is how readiness is probed.
type HealthCheckProtocol string

// The health check protocols.
const (
	HealthCheckTCP  HealthCheckProtocol = "TCP"
	HealthCheckHTTP HealthCheckProtocol = "HTTP"
)

// HealthCheck is a service's health check (API shape HealthCheckConfiguration).
type HealthCheck struct {
	Protocol           HealthCheckProtocol
	Path               string        // used by HTTP; "/" by default
	Interval           time.Duration // whole seconds, 1-20
	Timeout            time.Duration // whole seconds, 1-20
	HealthyThreshold   int           // consecutive passes, 1-20
	UnhealthyThreshold int           // consecutive failures, 1-20
}

// DefaultHealthCheck returns what App Runner uses when a client sends nothing.
func DefaultHealthCheck() HealthCheck {
	return HealthCheck{
		Protocol: HealthCheckTCP, Path: "/",
		Interval: 5 * time.Second, Timeout: 2 * time.Second,
		HealthyThreshold: 1, UnhealthyThreshold: 5,
	}
}

// NetworkConfiguration is how a service is reached and how it reaches out.
type NetworkConfiguration struct {
	Public        bool
	VPCConnector  string // full ARN; empty: default egress
	IPAddressType string // IPV4 or DUAL_STACK
}

// ServiceObservability is a service's tracing choice.
type ServiceObservability struct {
	Enabled       bool
	Configuration string // full ARN; empty unless Enabled
}
