// Kube is the real kube-apiserver, kube-controller-manager and kubectl in one binary.
//
// The three share nearly all of their code, so that one binary is linked once and is less than half
// the size of three. It acts as the one whose name it was started under (a symbolic link), or as the
// one that its first argument names.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJobs may name a time zone; the machine need not have the database.

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlerrors "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	if !isKnown(name) && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	switch name {
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		runKubectl(kubectl.NewDefaultKubectlCommand())
	default:
		fmt.Fprintln(os.Stderr, "usage: kube (kube-apiserver | kube-controller-manager | kubectl) ...")
		os.Exit(2)
	}
}

func isKnown(name string) bool {
	return name == "kube-apiserver" || name == "kube-controller-manager" || name == "kubectl"
}

// runKubectl prints an error the way kubectl does, which is not the way the servers do.
func runKubectl(command *cobra.Command) {
	if err := cli.RunNoErrOutput(command); err != nil {
		kubectlerrors.CheckErr(err)
	}
}
