package api_test

import (
	"strings"
	"testing"
)

// TestCreateServiceChecks has what each member allows but all together do not.
func TestCreateServiceChecks(t *testing.T) {
	const (
		role   = `"AuthenticationConfiguration":{"AccessRoleArn":"arn:aws:iam::123456789012:role/service-role/ecr"}`
		public = `"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"}`
		ecr    = `"ImageRepository":{"ImageIdentifier":"123456789012.dkr.ecr.us-east-1.amazonaws.com/y:1","ImageRepositoryType":"ECR"}`
		other  = `"ImageRepository":{"ImageIdentifier":"210987654321.dkr.ecr.us-east-1.amazonaws.com/y:1","ImageRepositoryType":"ECR"}`
		any    = `"ImageRepository":{"ImageIdentifier":"registry.example.com/y:1","ImageRepositoryType":"ECR"}`
		code   = `"CodeRepository":{"RepositoryUrl":"https://example.com/r.git","SourceCodeVersion":{"Type":"BRANCH","Value":"main"}}`
	)
	source := func(s string) string { return `"SourceConfiguration":{` + s + `}` }
	run := func(s string) string {
		return source(`"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":{` + s + `}}`)
	}
	repository := func(url string) string {
		return source(`"CodeRepository":{"RepositoryUrl":"` + url + `","SourceCodeVersion":{"Type":"BRANCH","Value":"main"},
			"CodeConfiguration":{"ConfigurationSource":"REPOSITORY"}}`)
	}
	values := func(s string) string {
		return strings.Replace(repository("https://github.com/team/web"), `"REPOSITORY"`, `"API","CodeConfigurationValues":{"Runtime":"GO_1",`+s+`}`, 1)
	}
	tags := func(n int) string { return strings.TrimSuffix(strings.Repeat(`{"Key":"k"},`, n), ",") }
	const ok = ""
	tests := map[string]struct{ members, want string }{
		"public":                    {source(public), ok},
		"empty authentication":      {source(public + `,"AuthenticationConfiguration":{}`), ok},
		"private":                   {source(ecr + "," + role), ok},
		"private, auto":             {source(ecr + "," + role + `,"AutoDeploymentsEnabled":true`), ok},
		"other account":             {source(other + "," + role), ok},
		"other registry":            {source(any), ok},
		"other registry, auto":      {source(any + `,"AutoDeploymentsEnabled":true`), ok},
		"neither source":            {source(""), "must have a CodeRepository or an ImageRepository"},
		"both sources":              {source(public + "," + strings.Replace(code, `"Value":"main"}`, `"Value":"main"},"CodeConfiguration":{"ConfigurationSource":"REPOSITORY"}`, 1)), "not both"},
		"role missing":              {source(ecr), "AccessRoleArn is required"},
		"role for public":           {source(public + "," + role), "AccessRoleArn must not be specified"},
		"auto for public":           {source(public + `,"AutoDeploymentsEnabled":true`), "AutoDeploymentsEnabled can't be true"},
		"auto for other account":    {source(other + "," + role + `,"AutoDeploymentsEnabled":true`), "AutoDeploymentsEnabled can't be true"},
		"code without config":       {source(code), "CodeConfiguration is required"},
		"code without values":       {source(strings.Replace(code, `"Value":"main"}`, `"Value":"main"},"CodeConfiguration":{"ConfigurationSource":"API"}`, 1)), "CodeConfigurationValues is required"},
		"port":                      {run(`"Port":"80"`), ok},
		"port 0":                    {run(`"Port":"0"`), "Port must be"},
		"port too high":             {run(`"Port":"65536"`), "Port must be"},
		"port signed":               {run(`"Port":"+80"`), "Port must be"},
		"port empty":                {run(`"Port":""`), "Port must be"},
		"port padded":               {run(`"Port":"080"`), "Port must be"},
		"PORT":                      {run(`"RuntimeEnvironmentVariables":{"PORT":"1"}`), "PORT is a reserved"},
		"PORT secret":               {run(`"RuntimeEnvironmentSecrets":{"PORT":"arn"}`), "PORT is a reserved"},
		"port lower case":           {run(`"RuntimeEnvironmentVariables":{"port":"1"}`), ok},
		"reserved prefix":           {run(`"RuntimeEnvironmentVariables":{"AWSAPPRUNNER_X":"1"}`), "AWSAPPRUNNER"},
		"newline in value":          {run(`"RuntimeEnvironmentVariables":{"A":"1\n2"}`), ok},
		"NUL in value":              {run(`"RuntimeEnvironmentVariables":{"A":"1\u00002"}`), "NUL"},
		"equals in name":            {run(`"RuntimeEnvironmentVariables":{"A=B":"1"}`), "equals sign"},
		"variable and secret":       {run(`"RuntimeEnvironmentVariables":{"A":"1"},"RuntimeEnvironmentSecrets":{"A":"arn"}`), "is also in"},
		"secret without role":       {run(`"RuntimeEnvironmentSecrets":{"A":"arn"}`), "InstanceRoleArn is required"},
		"secret with role":          {run(`"RuntimeEnvironmentSecrets":{"A":"arn"}`) + `,"InstanceConfiguration":{"InstanceRoleArn":"arn:aws:iam::123456789012:role/app"}`, ok},
		"sizes":                     {source(public) + `,"InstanceConfiguration":{"Cpu":"4 vCPU","Memory":"12288"}`, ok},
		"memory with default cpu":   {source(public) + `,"InstanceConfiguration":{"Memory":"4 GB"}`, ok},
		"sizes apart":               {source(public) + `,"InstanceConfiguration":{"Cpu":"256"}`, "Invalid combination"},
		"size off the list":         {source(public) + `,"InstanceConfiguration":{"Cpu":"0x5 vCPU"}`, "Invalid combination"},
		"vpc without connector":     {source(public) + `,"NetworkConfiguration":{"EgressConfiguration":{"EgressType":"VPC"}}`, "VpcConnectorArn is required"},
		"connector without vpc":     {source(public) + `,"NetworkConfiguration":{"EgressConfiguration":{"VpcConnectorArn":"` + missingARN + `"}}`, "VpcConnectorArn can only"},
		"tracing off with arn":      {source(public) + `,"ObservabilityConfiguration":{"ObservabilityEnabled":false,"ObservabilityConfigurationArn":"` + missingARN + `"}`, "ObservabilityConfigurationArn can only"},
		"tracing on":                {source(public) + `,"ObservabilityConfiguration":{"ObservabilityEnabled":true}`, ok},
		"tag twice":                 {source(public) + `,"Tags":[` + tags(2) + `]`, "Duplicate tag key: k"},
		"too many tags":             {source(public) + `,"Tags":[` + tags(51) + `]`, "at most 50 tags"},
		"unknown extension":         {source(public) + `,"Tags":[{"Key":"apron:x","Value":"1"}]`, "Unknown tag key: apron:x"},
		"unknown scaling":           {source(public) + `,"AutoScalingConfigurationArn":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/nope"`, "nope"},
		"default scaling, by name":  {source(public) + `,"AutoScalingConfigurationArn":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration"`, ok},
		"scaling that is something": {source(public) + `,"AutoScalingConfigurationArn":"` + missingARN + `"`, "is not the ARN of an auto scaling configuration."},
		"code":                      {repository("https://github.com/team/web"), ok},
		"code by http":              {repository("http://127.0.0.1:4080/git/web.git"), ok},
		"code by ssh":               {repository("ssh://git@example.com:2222/team/web.git"), ok},
		"code by file":              {repository("file:///srv/git/web.git"), ok},
		"code with a user":          {repository("https://user@example.com/team/web"), ok},
		"code with a password":      {repository("https://user:hush@example.com/team/web"), "must not contain a password"},
		"code by another protocol":  {repository("ext::sh -c id"), "RepositoryUrl must be"},
		"code by ftp":               {repository("ftp://example.com/web"), "RepositoryUrl must be"},
		"code by path":              {repository("/srv/git/web.git"), "RepositoryUrl must be"},
		"code of another host":      {repository("file://example.com/web.git"), "RepositoryUrl must be"},
		"code of no host":           {repository("https:///web"), "RepositoryUrl must be"},
		"code by option":            {repository("--upload-pack=x"), "RepositoryUrl must be"},
		"code by nothing":           {repository(""), "RepositoryUrl must be"},
		"code of no branch":         {strings.Replace(repository("https://github.com/team/web"), `"main"`, `""`, 1), "must name a branch"},
		"code, reserved prefix":     {values(`"RuntimeEnvironmentVariables":{"AWSAPPRUNNER_X":"1"}`), "AWSAPPRUNNER"},
		"code, secret without role": {values(`"RuntimeEnvironmentSecrets":{"A":"arn"}`), "InstanceRoleArn is required"},
		"code, port":                {values(`"Port":"0"`), "Port must be"},
		"code, new":                 {values(`"Port":"80"`), ok},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFront(t)
			w := f.call(t, "CreateService", `{"ServiceName":"web-app",`+tt.members+`}`)
			if tt.want == ok {
				if w.Code != 200 {
					t.Fatalf("got %d %s", w.Code, w.Body)
				}
				return
			}
			if p := problemOf(t, w); w.Code != 400 || p.Type != "InvalidRequestException" || !strings.Contains(p.Message, tt.want) {
				t.Errorf("got %d %+v, want %q", w.Code, p, tt.want)
			}
		})
	}
}
