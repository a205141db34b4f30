package apron

import "time"

// ConnectionStatus is where a connection stands (API shape ConnectionStatus).
type ConnectionStatus string

// The connection statuses.
const (
	ConnectionPendingHandshake ConnectionStatus = "PENDING_HANDSHAKE"
	ConnectionAvailable        ConnectionStatus = "AVAILABLE"
	ConnectionError            ConnectionStatus = "ERROR"
	ConnectionDeleted          ConnectionStatus = "DELETED"
)

// Connection gives access to a source code provider. It is made PENDING_HANDSHAKE; completing the
// handshake happens outside the API.
type Connection struct {
	ARN       ARN    // full
	Provider  string // API enum ProviderType: GITHUB or BITBUCKET
	Status    ConnectionStatus
	CreatedAt time.Time
	DeletedAt time.Time // zero unless Status is ConnectionDeleted
}
