package api_test

import (
	"strings"
	"testing"

	"apron"
	"apron/control"
)

// codeSource is the member of a request for a service from source code, with more members of its
// CodeRepository first, and then of the SourceConfiguration, if there are any.
func codeSource(configuration string, more ...string) string {
	var members [2]string
	for i, m := range more {
		if m != "" {
			members[i] = "," + m
		}
	}
	if configuration != "" {
		members[0] += `,"CodeConfiguration":` + configuration
	}
	return `"SourceConfiguration":{"CodeRepository":{"RepositoryUrl":"https://github.com/team/web",
		"SourceCodeVersion":{"Type":"BRANCH","Value":"main"}` + members[0] + `}` + members[1] + `}`
}

const (
	fromFile = `{"ConfigurationSource":"REPOSITORY"}`
	fromAPI  = `{"ConfigurationSource":"API","CodeConfigurationValues":{"Runtime":"NODEJS_22","BuildCommand":"npm ci","StartCommand":"node .",
		"Port":"3000","RuntimeEnvironmentVariables":{"A":"1"}}}`
	codeAt   = "Service.SourceConfiguration.CodeRepository."
	valuesAt = codeAt + "CodeConfiguration.CodeConfigurationValues"
)

// TestT15SourceDirectory: it comes back as it was sent, and an update without it keeps it.
func TestT15SourceDirectory(t *testing.T) {
	f := newFront(t)
	f.ok(t, "CreateService", serviceRequest("absent", codeSource(fromFile))).is(codeAt+"SourceDirectory", "/")
	for name, dir := range map[string]string{"root": "/", "slash": "/srv/web", "relative": "srv/web", "ending": "/srv/web/", "inside": "/srv/../web"} {
		arn := f.running(t, name, codeSource(fromFile, `"SourceDirectory":"`+dir+`"`))
		f.ok(t, "DescribeService", serviceARN(arn)).is(codeAt+"SourceDirectory", dir)
		f.ok(t, "UpdateService", serviceARN(arn, codeSource(""))).is(codeAt+"SourceDirectory", dir)
	}
	for _, dir := range []string{"..", "/..", "../web", "/srv/../../web"} {
		f.fails(t, "CreateService", serviceRequest("escaping", codeSource(fromFile, `"SourceDirectory":"`+dir+`"`)), invalid, "inside the repository")
	}
}

// TestCodeRoundTrips: a service from source code shows what was sent, and the defaults of the rest.
func TestCodeRoundTrips(t *testing.T) {
	f := newFront(t)
	o := f.ok(t, "CreateService", serviceRequest("by-api", codeSource(fromAPI)))
	o.is("Service.Status", "OPERATION_IN_PROGRESS")
	o.text("OperationId")
	same(t, any(map[string]any{
		"AutoDeploymentsEnabled": true,
		"CodeRepository": map[string]any{
			"RepositoryUrl": "https://github.com/team/web", "SourceCodeVersion": map[string]any{"Type": "BRANCH", "Value": "main"}, "SourceDirectory": "/",
			"CodeConfiguration": map[string]any{"ConfigurationSource": "API", "CodeConfigurationValues": map[string]any{
				"Runtime": "NODEJS_22", "BuildCommand": "npm ci", "StartCommand": "node .", "Port": "3000",
				"RuntimeEnvironmentVariables": map[string]any{"A": "1"},
			}},
		},
	}), o.at("Service.SourceConfiguration"))
	o = f.ok(t, "CreateService", serviceRequest("defaults", codeSource(`{"ConfigurationSource":"API","CodeConfigurationValues":{"Runtime":"GO_1"}}`)))
	same(t, any(map[string]any{"Runtime": "GO_1", "Port": "8080"}), o.at(valuesAt))
	f.ok(t, "CreateService", serviceRequest("by-file", codeSource(fromFile))).is(valuesAt, nil)
	f.ok(t, "CreateService", serviceRequest("by-hand", codeSource(fromFile, "", `"AutoDeploymentsEnabled":false`))).
		is("Service.SourceConfiguration.AutoDeploymentsEnabled", false)
}

// TestCodeValuesWithRepository: values that do not count are shown as they were sent, and not judged
// beyond the model.
func TestCodeValuesWithRepository(t *testing.T) {
	f := newFront(t)
	unused := strings.Replace(fromAPI, `"API"`, `"REPOSITORY"`, 1)
	arn := f.running(t, "web-app", codeSource(unused))
	o := f.ok(t, "DescribeService", serviceARN(arn))
	o.is(valuesAt+".Runtime", "NODEJS_22")
	o.is(valuesAt+".RuntimeEnvironmentVariables.A", "1")
	odd := `{"ConfigurationSource":"REPOSITORY","CodeConfigurationValues":{"Runtime":"GO_1","Port":"odd",
		"RuntimeEnvironmentVariables":{"PORT":"1"},"RuntimeEnvironmentSecrets":{"PORT":"arn"}}}`
	o = f.ok(t, "UpdateService", serviceARN(arn, codeSource(odd)))
	o.is(valuesAt+".Port", "odd")
	o.is(valuesAt+".RuntimeEnvironmentSecrets.PORT", "arn")
	f.ok(t, "CreateService", serviceRequest("web-two", codeSource(odd))).is(valuesAt+".Port", "odd")
	f.settle(t, arn, apron.ServiceRunning)
	f.fails(t, "UpdateService", serviceARN(arn, codeSource(strings.Replace(odd, "REPOSITORY", "API", 1))), invalid, "Port must be")
	f.fails(t, "UpdateService", serviceARN(arn, codeSource(`{"ConfigurationSource":"REPOSITORY","CodeConfigurationValues":{"Runtime":"COBOL"}}`)),
		invalid, "enum value set")
	f.ok(t, "UpdateService", serviceARN(arn, codeSource(fromFile))).is(valuesAt, nil)
}

// TestCodeUpdates follows a service from source code through the merge rules.
func TestCodeUpdates(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", codeSource(fromAPI, `"SourceDirectory":"/srv"`))
	update := func(member string) object {
		t.Helper()
		o := f.ok(t, "UpdateService", serviceARN(arn, member))
		f.settle(t, arn, apron.ServiceRunning)
		return o
	}
	o := update(`"SourceConfiguration":{"AutoDeploymentsEnabled":false}`)
	o.is(valuesAt+".BuildCommand", "npm ci")
	o.is("Service.SourceConfiguration.AutoDeploymentsEnabled", false)
	o = update(strings.Replace(codeSource(""), `"main"`, `"next"`, 1))
	o.is(codeAt+"SourceCodeVersion.Value", "next")
	o.is(codeAt+"SourceDirectory", "/srv")
	o.is(valuesAt+".Port", "3000")
	o = update(codeSource(`{"ConfigurationSource":"API","CodeConfigurationValues":{"Runtime":"GO_1"}}`))
	same(t, any(map[string]any{"Runtime": "GO_1", "Port": "8080"}), o.at(valuesAt)) // replaced as a whole
	update(codeSource(fromFile)).is(codeAt+"CodeConfiguration.ConfigurationSource", "REPOSITORY")
	update(codeSource(fromAPI)).is(codeAt+"CodeConfiguration.ConfigurationSource", "API")

	f.fails(t, "UpdateService", serviceARN(arn,
		`"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"}}`), invalid, "cannot be changed")
	f.fails(t, "UpdateService", serviceARN(f.running(t, "image"), codeSource(fromAPI)), invalid, "cannot be changed")
	f.ok(t, "StartDeployment", serviceARN(arn)).text("OperationId")
	f.ok(t, "ListOperations", serviceARN(arn)).is("OperationSummaryList.0.Type", "START_DEPLOYMENT")
}

// TestCodeThatFailed: a service that could not be built may be built again, but not from a file first
// and by the API then.
func TestCodeThatFailed(t *testing.T) {
	f := newFront(t)
	arn := f.ok(t, "CreateService", serviceRequest("web-app", codeSource(fromFile))).text("Service.ServiceArn")
	f.end(t, arn, apron.ServiceCreateFailed, apron.OperationFailed)
	f.fails(t, "UpdateService", serviceARN(arn, codeSource(fromAPI)), invalid,
		"ConfigurationSource cannot be changed from REPOSITORY to API for CREATE_FAILED services.")
	f.fails(t, "StartDeployment", serviceARN(arn), invalid, "it isn't in RUNNING state")
	f.ok(t, "UpdateService", serviceARN(arn)).is("Service.Status", "OPERATION_IN_PROGRESS")
}

// TestCodeConnection: a connection must be there and AVAILABLE, and stays while a service uses it.
func TestCodeConnection(t *testing.T) {
	f := newFront(t)
	const none = "arn:aws:apprunner:us-east-1:123456789012:connection/none/0123456789abcdef0123456789abcdef"
	arn := f.ok(t, "CreateConnection", `{"ConnectionName":"github","ProviderType":"GITHUB"}`).text("Connection.ConnectionArn")
	with := func(arn string) string {
		return codeSource(fromFile, "", `"AuthenticationConfiguration":{"ConnectionArn":"`+arn+`"}`)
	}
	f.fails(t, "CreateService", serviceRequest("web-app", with(none)), invalid, none)
	f.fails(t, "CreateService", serviceRequest("web-app", with(missingARN)), invalid, "is not the ARN of a connection")
	f.fails(t, "CreateService", serviceRequest("web-app", with(arn)), invalid, "Its status is PENDING_HANDSHAKE")
	f.ok(t, "ListServices", "{}").size("ServiceSummaryList", 0)
	f.handshake(t, "github")
	service := f.running(t, "web-app", with(arn))
	const at = "Service.SourceConfiguration.AuthenticationConfiguration.ConnectionArn"
	f.ok(t, "DescribeService", serviceARN(service)).is(at, arn)
	f.fails(t, "DeleteConnection", `{"ConnectionArn":"`+arn+`"}`, invalid, "in use")
	f.fails(t, "UpdateService", serviceARN(service, with(none)), missing, none)
	f.ok(t, "UpdateService", serviceARN(service, `"SourceConfiguration":{"AuthenticationConfiguration":{}}`)).is(at, nil)
	f.settle(t, service, apron.ServiceRunning)
	f.ok(t, "DeleteConnection", `{"ConnectionArn":"`+arn+`"}`).is("Connection.Status", "DELETED")
}

// handshake completes a connection, as its owner does outside of the API.
func (f *front) handshake(t testing.TB, name string) {
	t.Helper()
	if _, err := f.control.CompleteConnection(t.Context(), apron.Scope{Account: account, Region: region}, name, control.Completion{}); err != nil {
		t.Fatal(err)
	}
}
