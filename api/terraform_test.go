package api_test

import (
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
// as `terraform providers mirror` does, that has hashicorp/aws. TestTerraform needs it and takes
// minutes.
const terraformPlugins = "APRON_TEST_TERRAFORM_PLUGINS"

// TestTerraform creates, updates, imports and destroys every aws_apprunner_* resource with
// Terraform's AWS provider. After each step a plan must have nothing to change.
func TestTerraform(t *testing.T) {
	plugins := os.Getenv(terraformPlugins)
	if plugins == "" {
		t.Skip(terraformPlugins + " is not set")
	}
	rec := &recorder{t: t, f: newFront(t, realTime), ids: standIns{}, lenient: true}
	s := httptest.NewServer(rec)
	defer s.Close()
	tf := newTerraform(t, s.URL, plugins)
	tf.run("init", "-input=false")

	tf.apply()
	tf.same()
	same(t, account, tf.output("account"))
	same(t, "3", tf.output("records"))

	// The second update takes all variables of the environment away.
	tf.apply("memory=4096", "greeting=good day", "team=red", "concurrency=60")
	tf.same("memory=4096", "greeting=good day", "team=red", "concurrency=60")
	tf.apply("memory=4096", "greeting=")
	tf.same("memory=4096", "greeting=")

	tf.importAll()
	tf.same("memory=4096", "greeting=")
	tf.apply("memory=4096", "greeting=", "restore=true")
	tf.same("memory=4096", "greeting=", "restore=true")
	tf.run("destroy", "-auto-approve", "-input=false", "-no-color")
	c := sdk(s.URL)
	services, err := c.ListServices(t.Context(), &apprunner.ListServicesInput{})
	if err != nil || len(services.ServiceSummaryList) != 0 {
		t.Errorf("after destroy: %v, services %v", err, services)
	}
	connectors, err := c.ListVpcConnectors(t.Context(), &apprunner.ListVpcConnectorsInput{})
	if err != nil || len(connectors.VpcConnectors) != 0 {
		t.Errorf("after destroy: %v, connectors %v", err, connectors)
	}
}

type terraform struct {
	*testing.T

	dir string
	env []string
}

func newTerraform(t *testing.T, url, plugins string) *terraform {
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "terraform.rc")
	main, err := os.ReadFile("testdata/terraform/main.tf")
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "main.tf"), main, 0o600),
		os.WriteFile(config, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", plugins), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return &terraform{t, dir, append(os.Environ(), "TF_CLI_CONFIG_FILE="+config, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
		"AWS_ENDPOINT_URL="+url, "AWS_REGION="+region, "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY="+secret,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true")}
}

func (tf *terraform) run(args ...string) string {
	tf.Helper()
	cmd := exec.CommandContext(tf.Context(), "terraform", args...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		tf.Fatalf("terraform %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func vars(values []string) (args []string) {
	for _, v := range values {
		args = append(args, "-var", v)
	}
	return args
}

func (tf *terraform) apply(values ...string) {
	tf.Helper()
	tf.run(append([]string{"apply", "-auto-approve", "-input=false", "-no-color"}, vars(values)...)...)
}

// same plans and expects no changes: exit status 2 would say that there are some.
func (tf *terraform) same(values ...string) {
	tf.Helper()
	tf.run(append([]string{"plan", "-detailed-exitcode", "-input=false", "-no-color"}, vars(values)...)...)
}

func (tf *terraform) output(name string) string {
	return strings.TrimSpace(tf.run("output", "-raw", name))
}

// importAll forgets every resource that can be imported, and imports it by its id.
func (tf *terraform) importAll() {
	var state struct {
		Values struct {
			RootModule struct {
				Resources []struct {
					Address, Type, Mode string
					Values              struct{ ID string }
				}
			} `json:"root_module"`
		}
	}
	if err := json.Unmarshal([]byte(tf.run("show", "-json")), &state); err != nil {
		tf.Fatal(err)
	}
	fixed := []string{"aws_apprunner_deployment", "aws_apprunner_default_auto_scaling_configuration_version"}
	var blocks strings.Builder
	var addresses []string
	for _, r := range state.Values.RootModule.Resources {
		if r.Mode == "managed" && !slices.Contains(fixed, r.Type) {
			fmt.Fprintf(&blocks, "import {\n  to = %s\n  id = %q\n}\n", r.Address, r.Values.ID)
			addresses = append(addresses, r.Address)
		}
	}
	tf.run(append([]string{"state", "rm"}, addresses...)...)
	if err := os.WriteFile(filepath.Join(tf.dir, "import.tf"), []byte(blocks.String()), 0o600); err != nil {
		tf.Fatal(err)
	}
	out := tf.run("apply", "-auto-approve", "-input=false", "-no-color", "-var", "memory=4096", "-var", "greeting=")
	if want := fmt.Sprintf("%d imported, 0 added, 0 changed, 0 destroyed", len(addresses)); !strings.Contains(out, want) {
		tf.Errorf("import: want %s\n%s", want, out)
	}
}
