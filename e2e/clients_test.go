package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// environ returns the environment `apron env` would give a client, and nothing of this machine's
// own AWS configuration.
func (h *home) environ() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.data,
		"AWS_ENDPOINT_URL=http://" + h.local.Listen, "AWS_REGION=" + h.local.Region, "AWS_DEFAULT_REGION=" + h.local.Region,
		"AWS_ACCESS_KEY_ID=" + h.local.Key.ID, "AWS_SECRET_ACCESS_KEY=" + h.local.Key.Secret,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "NO_PROXY=127.0.0.1,localhost",
	}
}

// run runs a client and returns what it wrote to standard output.
func (h *home) run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, h.environ()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), errOut.Bytes())
	}
	return out.Bytes()
}

func needCommand(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		skip(t, name+" is not installed")
	}
}

// TestAWSCLI walks a service through its life with the AWS CLI.
func TestAWSCLI(t *testing.T) {
	needCommand(t, "aws")
	h := newHome(t)
	image := h.push(t)
	cli := func(args ...string) map[string]any {
		t.Helper()
		// The option, not the variable: Debian's CLI is older than AWS_ENDPOINT_URL.
		args = append([]string{"--endpoint-url", "http://" + h.local.Listen, "--output", "json", "apprunner"}, args...)
		var out map[string]any
		if err := json.Unmarshal(h.run(t, "", "aws", args...), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	source, err := json.Marshal(map[string]any{
		"AuthenticationConfiguration": map[string]any{"AccessRoleArn": "arn:aws:iam::123456789012:role/ecr-access"},
		"ImageRepository": map[string]any{
			"ImageIdentifier": image, "ImageRepositoryType": "ECR",
			"ImageConfiguration": map[string]any{"Port": "8080"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	created := cli("create-service", "--service-name", "cli-web", "--source-configuration", string(source),
		"--instance-configuration", "Cpu=0.25 vCPU,Memory=0.5 GB")["Service"].(map[string]any)
	arn := created["ServiceArn"].(string)
	svc := h.settled(t, aws.String(arn))
	if svc.Status != types.ServiceStatusRunning {
		t.Fatalf("service is %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	if status, _, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusOK {
		t.Errorf("got %d, %v", status, err)
	}
	described := cli("describe-service", "--service-arn", arn)["Service"].(map[string]any)
	if cpu := described["InstanceConfiguration"].(map[string]any)["Cpu"]; cpu != "256" {
		t.Errorf("Cpu came back as %v, want 256", cpu)
	}
	if list := cli("list-services")["ServiceSummaryList"].([]any); len(list) != 1 {
		t.Errorf("list-services: %v", list)
	}
	if list := cli("list-operations", "--service-arn", arn)["OperationSummaryList"].([]any); len(list) != 1 {
		t.Errorf("list-operations: %v", list)
	}
	cli("delete-service", "--service-arn", arn)
	if svc := h.settled(t, aws.String(arn)); svc.Status != types.ServiceStatusDeleted {
		t.Errorf("after delete-service: %s", svc.Status)
	}
}

// TestBoto3 does the same with boto3, and looks at an error as Python sees it.
func TestBoto3(t *testing.T) {
	needCommand(t, "python3")
	h := newHome(t)
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import boto3").Run(); err != nil {
		skip(t, "boto3 is not installed")
	}
	image := h.push(t)
	script, err := filepath.Abs("testdata/boto3_walk.py")
	if err != nil {
		t.Fatal(err)
	}
	out := h.run(t, "", "python3", script, "http://"+h.local.Listen, image)
	if !bytes.Contains(out, []byte("walked")) {
		t.Errorf("boto3 said %q", out)
	}
}

// terraformPlugins returns where Terraform's AWS provider is, and ends a test that cannot do without.
func terraformPlugins(t *testing.T) string {
	t.Helper()
	needCommand(t, "terraform")
	plugins := cmp.Or(os.Getenv("APRON_TF_PLUGINS"), "/opt/tf-plugins")
	if _, err := os.Stat(plugins); err != nil {
		skip(t, "Terraform's AWS provider is not in "+plugins+" (APRON_TF_PLUGINS)")
	}
	return plugins
}

// terraform returns what runs Terraform's commands on the file, with the endpoint and the variable set.
func (h *home) terraform(t *testing.T, plugins, file, variable string) (tf func(command string, args ...string)) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), must(t, os.ReadFile, file), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(t, dir, "terraform", "init", "-plugin-dir="+plugins, "-input=false", "-no-color")
	vars := []string{"-var", "endpoint=http://" + h.local.Listen, "-var", variable, "-input=false", "-no-color"}
	return func(command string, args ...string) {
		t.Helper()
		h.run(t, dir, "terraform", append(append([]string{command}, args...), vars...)...)
	}
}

// TestTerraform applies, plans without changes, and destroys aws_apprunner_service.
func TestTerraform(t *testing.T) {
	plugins := terraformPlugins(t)
	h := newHome(t)
	tf := h.terraform(t, plugins, "testdata/service.tf", "image="+h.push(t))
	tf("apply", "-auto-approve")
	// -detailed-exitcode: 2 when there is a difference, which run takes for a failure.
	tf("plan", "-detailed-exitcode")
	out, err := h.client.ListServices(t.Context(), nil)
	if err != nil || len(out.ServiceSummaryList) != 1 {
		t.Fatalf("services after apply: %v, %v", out, err)
	}
	svc := h.settled(t, out.ServiceSummaryList[0].ServiceArn)
	if status, body, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusOK || !strings.Contains(body, "version=tf") {
		t.Errorf("got %d %q, %v", status, body, err)
	}
	tf("destroy", "-auto-approve")
	if out, err = h.client.ListServices(t.Context(), nil); err != nil || len(out.ServiceSummaryList) != 0 {
		t.Errorf("services after destroy: %v, %v", out, err)
	}
}
