package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/apprunner"
)

// terraformPlugins names the environment variable with a directory of Terraform providers, laid out
// as `terraform providers mirror` does, that has hashicorp/aws.
const terraformPlugins = "APRON_TF_PLUGINS"

// TestTerraform creates, updates, imports and destroys every aws_apprunner_* resource with
// Terraform's AWS provider. Every run costs a second, so each proves as much as it can: what has been
// imported without a change (T13) also says that the update before left nothing to change.
func TestTerraform(t *testing.T) {
	provider := terraformProvider(t)
	rec := &recorder{t: t, f: newFront(t, realTime), ids: standIns{}, lenient: true}
	s := httptest.NewServer(rec)
	defer s.Close()
	tf := newTerraform(t, s.URL, provider)

	tf.run("apply", "-auto-approve")
	same(t, account, tf.state().output("account"))
	same(t, "3", tf.state().output("records"))
	// Exit status 2, which run takes for a failure, would say that there are changes.
	tf.run("plan", "-detailed-exitcode")

	// Takes the variables of the environment away, and gives the default, which cannot be deleted, back.
	tf.vars = []string{"-var=memory=4096", "-var=greeting=", "-var=team=red", "-var=concurrency=60", "-var=restore=true"}
	tf.run("apply", "-auto-approve", "-refresh=false")
	forgotten := tf.forget()
	out := tf.run("apply", "-auto-approve")
	if want := fmt.Sprintf("%d imported, 0 added, 0 changed, 0 destroyed", forgotten); !strings.Contains(out, want) {
		t.Errorf("import: want %s\n%s", want, out)
	}
	tf.run("destroy", "-auto-approve", "-refresh=false")
	nothingLeft(t, sdk(s.URL))
}

// terraformProvider returns the program of the AWS provider. Without it, or Terraform, the test is
// skipped, which in CI is a failure.
func terraformProvider(t *testing.T) string {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if _, err := exec.LookPath("terraform"); err != nil {
		skip("terraform is not installed")
	}
	plugins := os.Getenv(terraformPlugins)
	if plugins == "" {
		plugins = "/opt/tf-plugins"
	}
	found, err := filepath.Glob(filepath.Join(plugins, "registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws*"))
	if err != nil || len(found) == 0 {
		skip("Terraform's AWS provider is not in %s (%s)", plugins, terraformPlugins)
	}
	return found[len(found)-1]
}

// nothingLeft looks for resources, but for the defaults that every account has.
func nothingLeft(t *testing.T, c *apprunner.Client) {
	t.Helper()
	services, err1 := c.ListServices(t.Context(), &apprunner.ListServicesInput{})
	connectors, err2 := c.ListVpcConnectors(t.Context(), &apprunner.ListVpcConnectorsInput{})
	ingress, err3 := c.ListVpcIngressConnections(t.Context(), &apprunner.ListVpcIngressConnectionsInput{})
	connections, err4 := c.ListConnections(t.Context(), &apprunner.ListConnectionsInput{})
	scaling, err5 := c.ListAutoScalingConfigurations(t.Context(), &apprunner.ListAutoScalingConfigurationsInput{})
	tracing, err6 := c.ListObservabilityConfigurations(t.Context(), &apprunner.ListObservabilityConfigurationsInput{})
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	same(t, []int{0, 0, 0, 0, 1, 1}, []int{
		len(services.ServiceSummaryList), len(connectors.VpcConnectors), len(ingress.VpcIngressConnectionSummaryList),
		len(connections.ConnectionSummaryList), len(scaling.AutoScalingConfigurationSummaryList), len(tracing.ObservabilityConfigurationSummaryList),
	})
}

// terraform is a directory with a configuration and its state.
type terraform struct {
	*testing.T

	dir  string
	env  []string
	vars []string
}

// newTerraform starts the provider once for all runs. Terraform then needs no `init`, and computes no
// checksum of half a gigabyte each time.
func newTerraform(t *testing.T, url, provider string) *terraform {
	t.Helper()
	dir := t.TempDir()
	main, err := os.ReadFile("testdata/terraform/main.tf")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "main.tf"), main, 0o600)); err != nil {
		t.Fatal(err)
	}
	own := func(v string) bool { return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TF_") }
	env := append(slices.DeleteFunc(os.Environ(), own), "TF_CLI_CONFIG_FILE=/dev/null", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TMPDIR="+dir,
		"AWS_ENDPOINT_URL="+url, "AWS_REGION="+region, "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY="+secret,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true")
	return &terraform{T: t, dir: dir, env: append(env, startProvider(t, provider, env))}
}

// startProvider runs the provider until the test ends, and returns the variable by which Terraform
// finds it.
func startProvider(t *testing.T, provider string, env []string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, provider, "-debug")
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if variable, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "TF_REATTACH_PROVIDERS='"); ok {
			return "TF_REATTACH_PROVIDERS=" + strings.TrimSuffix(variable, "'")
		}
	}
	t.Fatal("the provider does not start")
	return ""
}

func (tf *terraform) run(command string, args ...string) string {
	tf.Helper()
	args = append(append([]string{command, "-input=false", "-no-color", "-parallelism=20"}, args...), tf.vars...)
	cmd := exec.CommandContext(tf.Context(), "terraform", args...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		tf.Fatalf("terraform %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// terraformState is a state file, as far as tests look at it.
type terraformState struct {
	Outputs map[string]struct {
		Value any `json:"value"`
	} `json:"outputs"`
	Resources []struct {
		Mode      string `json:"mode"`
		Type      string `json:"type"`
		Name      string `json:"name"`
		Instances []struct {
			Attributes struct {
				ID string `json:"id"`
			} `json:"attributes"`
		} `json:"instances"`
	} `json:"resources"`
}

func (s *terraformState) output(name string) string { return fmt.Sprint(s.Outputs[name].Value) }

func (tf *terraform) state() *terraformState {
	tf.Helper()
	var s terraformState
	tf.readState(&s)
	return &s
}

func (tf *terraform) readState(into any) {
	tf.Helper()
	b, err := os.ReadFile(filepath.Join(tf.dir, "terraform.tfstate"))
	if err := errors.Join(err, json.Unmarshal(b, into)); err != nil {
		tf.Fatal(err)
	}
}

// forget takes every resource that can be imported out of the state, has the next run import them by
// their ids, and returns how many they are.
func (tf *terraform) forget() int {
	tf.Helper()
	var blocks strings.Builder
	var gone []int
	types := map[string]bool{}
	for i, r := range tf.state().Resources {
		if r.Mode == "managed" && r.Type != "aws_apprunner_deployment" { // which the provider cannot import
			fmt.Fprintf(&blocks, "import {\n  to = %s.%s\n  id = %q\n}\n", r.Type, r.Name, r.Instances[0].Attributes.ID)
			gone = append(gone, i)
			types[r.Type] = true
		}
	}
	if len(types) != 8 {
		tf.Errorf("to import: %v", types)
	}
	var whole map[string]any
	tf.readState(&whole)
	var left []any
	for i, r := range whole["resources"].([]any) {
		if !slices.Contains(gone, i) {
			left = append(left, r)
		}
	}
	whole["resources"] = left
	b, err := json.Marshal(whole)
	if err := errors.Join(err, os.WriteFile(filepath.Join(tf.dir, "terraform.tfstate"), b, 0o600),
		os.WriteFile(filepath.Join(tf.dir, "import.tf"), []byte(blocks.String()), 0o600)); err != nil {
		tf.Fatal(err)
	}
	return len(gone)
}
