package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"apron"
)

// The structs below are the stored form of a service configuration: a JSON document whose member
// names never change. A new member must be optional; document_test.go pins the form.

type configDocument struct {
	Source        sourceDocument         `json:"source"`
	Instance      instanceDocument       `json:"instance"`
	HealthCheck   healthCheckDocument    `json:"health_check"`
	Network       networkDocument        `json:"network"`
	Observability *observabilityDocument `json:"observability,omitempty"`
	AutoScaling   string                 `json:"auto_scaling,omitempty"` // full ARN
	KMSKey        string                 `json:"kms_key,omitempty"`
	Extensions    *extensionsDocument    `json:"extensions,omitempty"` // absent: the zero value
}

type sourceDocument struct {
	Image           *imageDocument `json:"image,omitempty"`
	Code            *codeDocument  `json:"code,omitempty"`
	AutoDeployments bool           `json:"auto_deployments"`
	AccessRoleARN   string         `json:"access_role_arn,omitempty"`
	ConnectionARN   string         `json:"connection_arn,omitempty"`
}

type imageDocument struct {
	Identifier string      `json:"identifier"`
	Type       string      `json:"type"`
	Run        runDocument `json:"run"`
}

type codeDocument struct {
	URL                 string              `json:"url"`
	Branch              string              `json:"branch,omitempty"`
	SourceDirectory     string              `json:"source_directory,omitempty"`
	ConfigurationSource string              `json:"configuration_source,omitempty"`
	Values              *codeValuesDocument `json:"values,omitempty"`
}

type codeValuesDocument struct {
	Runtime      string      `json:"runtime"`
	BuildCommand string      `json:"build_command,omitempty"`
	Run          runDocument `json:"run"`
}

type runDocument struct {
	Port         string            `json:"port,omitempty"`
	StartCommand string            `json:"start_command,omitempty"`
	Env          map[string]string `json:"env,omitempty"`
	Secrets      map[string]string `json:"secrets,omitempty"`
}

type instanceDocument struct {
	MilliCPU  int    `json:"milli_cpu"`
	MemoryMiB int    `json:"memory_mib"`
	RoleARN   string `json:"role_arn,omitempty"`
}

type healthCheckDocument struct {
	Protocol           string `json:"protocol"`
	Path               string `json:"path,omitempty"`
	IntervalMillis     int64  `json:"interval_ms"`
	TimeoutMillis      int64  `json:"timeout_ms"`
	HealthyThreshold   int    `json:"healthy_threshold"`
	UnhealthyThreshold int    `json:"unhealthy_threshold"`
}

type networkDocument struct {
	Public        bool   `json:"public"`
	VPCConnector  string `json:"vpc_connector,omitempty"`
	IPAddressType string `json:"ip_address_type,omitempty"`
}

type observabilityDocument struct {
	Enabled       bool   `json:"enabled"`
	Configuration string `json:"configuration,omitempty"`
}

type extensionsDocument struct {
	StartTimeoutMillis int64                `json:"start_timeout_ms,omitempty"`
	StopTimeoutMillis  int64                `json:"stop_timeout_ms,omitempty"`
	Runtime            string               `json:"runtime,omitempty"`
	Dockerfile         string               `json:"dockerfile,omitempty"`
	Prepared           int                  `json:"prepared,omitempty"`
	Route              routeOptionsDocument `json:"route"`
}

type routeOptionsDocument struct {
	RequestTimeoutMillis int64  `json:"request_timeout_ms,omitempty"`
	Queue                int    `json:"queue,omitempty"`
	QueueTimeoutMillis   int64  `json:"queue_timeout_ms,omitempty"`
	NoWebSocket          bool   `json:"no_websocket,omitempty"`
	Protocol             string `json:"protocol,omitempty"`
	AccessLog            bool   `json:"access_log,omitempty"`
}

// encodeConfig returns the stored form of c. The same configuration always gives the same bytes. A
// NUL character, which no process can be given and Postgres cannot look past, is an Invalid Fault.
func encodeConfig(c apron.ServiceConfiguration) (string, error) {
	doc := configDocument{
		Source:   encodeSource(c.Source),
		Instance: instanceDocument(c.Instance),
		HealthCheck: healthCheckDocument{
			Protocol: string(c.HealthCheck.Protocol), Path: c.HealthCheck.Path,
			IntervalMillis: c.HealthCheck.Interval.Milliseconds(), TimeoutMillis: c.HealthCheck.Timeout.Milliseconds(),
			HealthyThreshold: c.HealthCheck.HealthyThreshold, UnhealthyThreshold: c.HealthCheck.UnhealthyThreshold,
		},
		Network:       networkDocument(c.Network),
		Observability: (*observabilityDocument)(c.Observability),
		AutoScaling:   scalingColumn(c.AutoScaling),
		KMSKey:        c.KMSKey,
		Extensions:    encodeExtensions(c.Extensions),
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("encode configuration: %w", err)
	}
	if hasNUL(b) {
		return "", apron.Faultf(apron.Invalid, "The configuration must not contain the character U+0000.")
	}
	return string(b), nil
}

// hasNUL reports whether a JSON document has a NUL character in a string, where it is \u0000.
func hasNUL(doc []byte) bool {
	for i := 0; i < len(doc); i++ {
		if doc[i] != '\\' {
			continue
		}
		if bytes.HasPrefix(doc[i:], []byte(`\u0000`)) {
			return true
		}
		i++ // an escaped backslash does not start another escape
	}
	return false
}

func encodeSource(s apron.SourceConfiguration) sourceDocument {
	doc := sourceDocument{AutoDeployments: s.AutoDeployments, AccessRoleARN: s.AccessRoleARN, ConnectionARN: s.ConnectionARN}
	if i := s.Image; i != nil {
		doc.Image = &imageDocument{Identifier: i.Identifier, Type: string(i.Type), Run: runDocument(i.Run)}
	}
	if c := s.Code; c != nil {
		doc.Code = &codeDocument{
			URL: c.URL, Branch: c.Branch, SourceDirectory: c.SourceDirectory, ConfigurationSource: c.ConfigurationSource,
		}
		if v := c.Values; v != nil {
			doc.Code.Values = &codeValuesDocument{Runtime: v.Runtime, BuildCommand: v.BuildCommand, Run: runDocument(v.Run)}
		}
	}
	return doc
}

func encodeExtensions(e apron.Extensions) *extensionsDocument {
	if e == (apron.Extensions{}) {
		return nil
	}
	return &extensionsDocument{
		StartTimeoutMillis: e.StartTimeout.Milliseconds(), StopTimeoutMillis: e.StopTimeout.Milliseconds(),
		Runtime: e.Runtime, Dockerfile: e.Dockerfile, Prepared: e.Prepared,
		Route: routeOptionsDocument{
			RequestTimeoutMillis: e.Route.RequestTimeout.Milliseconds(),
			Queue:                e.Route.Queue, QueueTimeoutMillis: e.Route.QueueTimeout.Milliseconds(),
			NoWebSocket: e.Route.NoWebSocket, Protocol: e.Route.Protocol, AccessLog: e.Route.AccessLog,
		},
	}
}

func decodeExtensions(doc *extensionsDocument) apron.Extensions {
	if doc == nil {
		return apron.Extensions{}
	}
	return apron.Extensions{
		StartTimeout: time.Duration(doc.StartTimeoutMillis) * time.Millisecond,
		StopTimeout:  time.Duration(doc.StopTimeoutMillis) * time.Millisecond,
		Runtime:      doc.Runtime, Dockerfile: doc.Dockerfile, Prepared: doc.Prepared,
		Route: apron.RouteOptions{
			RequestTimeout: time.Duration(doc.Route.RequestTimeoutMillis) * time.Millisecond,
			Queue:          doc.Route.Queue, QueueTimeout: time.Duration(doc.Route.QueueTimeoutMillis) * time.Millisecond,
			NoWebSocket: doc.Route.NoWebSocket, Protocol: doc.Route.Protocol, AccessLog: doc.Route.AccessLog,
		},
	}
}

// decodeConfig reads what encodeConfig made, now or in an older version. Errors never quote the
// document: it holds secrets.
func decodeConfig(stored []byte) (apron.ServiceConfiguration, error) {
	var doc configDocument
	if err := json.Unmarshal(stored, &doc); err != nil {
		return apron.ServiceConfiguration{}, fmt.Errorf("decode configuration: %w", err)
	}
	c := apron.ServiceConfiguration{
		Source:   decodeSource(doc.Source),
		Instance: apron.InstanceConfiguration(doc.Instance),
		HealthCheck: apron.HealthCheck{
			Protocol: apron.HealthCheckProtocol(doc.HealthCheck.Protocol), Path: doc.HealthCheck.Path,
			Interval:         time.Duration(doc.HealthCheck.IntervalMillis) * time.Millisecond,
			Timeout:          time.Duration(doc.HealthCheck.TimeoutMillis) * time.Millisecond,
			HealthyThreshold: doc.HealthCheck.HealthyThreshold, UnhealthyThreshold: doc.HealthCheck.UnhealthyThreshold,
		},
		Network:       apron.NetworkConfiguration(doc.Network),
		Observability: (*apron.ServiceObservability)(doc.Observability),
		KMSKey:        doc.KMSKey,
		Extensions:    decodeExtensions(doc.Extensions),
	}
	if doc.AutoScaling != "" {
		arn, err := apron.ParseARN(doc.AutoScaling)
		if err != nil {
			return apron.ServiceConfiguration{}, fmt.Errorf("decode configuration: %w", err)
		}
		c.AutoScaling = arn
	}
	return c, nil
}

func decodeSource(doc sourceDocument) apron.SourceConfiguration {
	s := apron.SourceConfiguration{
		AutoDeployments: doc.AutoDeployments, AccessRoleARN: doc.AccessRoleARN, ConnectionARN: doc.ConnectionARN,
	}
	if i := doc.Image; i != nil {
		s.Image = &apron.ImageRepository{
			Identifier: i.Identifier, Type: apron.ImageRepositoryType(i.Type), Run: apron.RunConfiguration(i.Run),
		}
	}
	if c := doc.Code; c != nil {
		s.Code = &apron.CodeRepository{
			URL: c.URL, Branch: c.Branch, SourceDirectory: c.SourceDirectory, ConfigurationSource: c.ConfigurationSource,
		}
		if v := c.Values; v != nil {
			s.Code.Values = &apron.CodeConfigurationValues{
				Runtime: v.Runtime, BuildCommand: v.BuildCommand, Run: apron.RunConfiguration(v.Run),
			}
		}
	}
	return s
}

// scalingColumn returns the ARN's stored form; the zero ARN is empty.
func scalingColumn(a apron.ARN) string {
	if a == (apron.ARN{}) {
		return ""
	}
	return a.String()
}
