// admission POLICY.yaml [--fail]: what the API server's own admission code makes of pods.
//
// Reads a YAML stream of Namespace and Pod objects from standard input. Each Pod is "created" in its namespace
// under the policies and bindings of POLICY.yaml, by the plugin MutatingAdmissionPolicy of k8s.io/apiserver, with
// everything that the plugin does itself: selectors, matchConditions, CEL, structured merge, failurePolicy.
// Writes for each Pod one line of JSON: name, the pod afterwards, changed, changed_again (by a second pass, as a
// reinvocation makes one), error. With --fail an error of the policy is an error, whatever its failurePolicy says.
//
// scripts/lab/kubernetes builds this program from Debian's packages of Kubernetes' source.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	_ "unsafe"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
)

// The plugin's own compiler, which its package does not export.
//
//go:linkname compilePolicy k8s.io/apiserver/pkg/admission/plugin/policy/mutating.compilePolicy
func compilePolicy(policy *admissionregistration.MutatingAdmissionPolicy) mutating.PolicyEvaluator

// An API server reads the schemas that it serves; these are the same, built into client-go.
type schemas struct{ managedfields.TypeConverter }

func (s schemas) GetTypeConverter(schema.GroupVersionKind) managedfields.TypeConverter {
	return s.TypeConverter
}
func (s schemas) Run(context.Context) {}

type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

type result struct {
	Name         string    `json:"name"`
	Changed      bool      `json:"changed"`
	ChangedAgain bool      `json:"changed_again"`
	Error        string    `json:"error,omitempty"`
	Milliseconds float64   `json:"milliseconds"`
	Pod          *core.Pod `json:"pod"`
}

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := run(os.Args[1], len(os.Args) > 2 && os.Args[2] == "--fail"); err != nil {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func objects(text []byte) ([]runtime.Object, error) {
	var all []runtime.Object
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w in: %s", err, document)
		}
		all = append(all, object)
	}
}

// The API server fills these fields before it stores an object (pkg/apis/admissionregistration/v1/defaults.go).
func setDefaults(object runtime.Object, fail bool) {
	switch object := object.(type) {
	case *admissionregistration.MutatingAdmissionPolicy:
		failurePolicy := admissionregistration.Fail
		if object.Spec.FailurePolicy == nil || fail {
			object.Spec.FailurePolicy = &failurePolicy
		}
		setMatchDefaults(object.Spec.MatchConstraints)
	case *admissionregistration.MutatingAdmissionPolicyBinding:
		setMatchDefaults(object.Spec.MatchResources)
	}
}

func setMatchDefaults(match *admissionregistration.MatchResources) {
	if match == nil {
		return
	}
	equivalent, all := admissionregistration.Equivalent, admissionregistration.AllScopes
	if match.MatchPolicy == nil {
		match.MatchPolicy = &equivalent
	}
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = &metav1.LabelSelector{}
	}
	if match.ObjectSelector == nil {
		match.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range match.ResourceRules {
		if match.ResourceRules[i].Scope == nil {
			match.ResourceRules[i].Scope = &all
		}
	}
}

func run(policyFile string, fail bool) error {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		return err
	}
	configuration, err := objects(text)
	if err != nil {
		return err
	}
	for _, object := range configuration {
		setDefaults(object, fail)
	}
	text, err = io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	input, err := objects(text)
	if err != nil {
		return err
	}
	var pods []*core.Pod
	for _, object := range input {
		switch object := object.(type) {
		case *core.Pod:
			pods = append(pods, object)
		case *core.Namespace:
			configuration = append(configuration, object)
		default:
			return fmt.Errorf("%T is neither a Pod nor a Namespace", object)
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset(configuration...)
	factory := informers.NewSharedInformerFactory(client, 0)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{core.SchemeGroupVersion})
	mapper.Add(core.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	plugin := generic.NewPlugin(
		admission.NewHandler(admission.Create, admission.Update, admission.Connect),
		func(factory informers.SharedInformerFactory, _ kubernetes.Interface, dynamicClient dynamic.Interface, mapper meta.RESTMapper) generic.Source[mutating.PolicyHook] {
			registration := factory.Admissionregistration().V1()
			return generic.NewPolicySource(
				registration.MutatingAdmissionPolicies().Informer(),
				registration.MutatingAdmissionPolicyBindings().Informer(),
				mutating.NewMutatingAdmissionPolicyAccessor,
				mutating.NewMutatingAdmissionPolicyBindingAccessor,
				compilePolicy, factory, dynamicClient, mapper)
		},
		func(a authorizer.Authorizer, m *matching.Matcher, _ kubernetes.Interface) generic.Dispatcher[mutating.PolicyHook] {
			return mutating.NewDispatcher(a, m, schemas{applyconfigurations.NewTypeConverter(scheme.Scheme)})
		})
	plugin.SetEnabled(true)
	initializer.New(client, dynamicfake.NewSimpleDynamicClient(scheme.Scheme), factory, allowAll{}, featuregate.NewFeatureGate(),
		compatibility.DefaultBuildEffectiveVersion(), ctx.Done(), mapper).Initialize(plugin)
	if err := plugin.ValidateInitialization(); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for deadline := time.Now().Add(time.Minute); !plugin.WaitForReady(); {
		if time.Now().After(deadline) {
			return errors.New("the plugin does not become ready")
		}
	}

	out := json.NewEncoder(os.Stdout)
	for _, pod := range pods {
		kind := pod.GroupVersionKind()
		before := pod.DeepCopy()
		began := time.Now()
		err := admit(ctx, plugin, pod)
		line := result{Name: pod.Name, Pod: pod, Milliseconds: float64(time.Since(began).Microseconds()) / 1000}
		pod.SetGroupVersionKind(kind)
		line.Changed = !equality.Semantic.DeepEqual(before, pod)
		if err == nil {
			again := pod.DeepCopy()
			err = admit(ctx, plugin, again)
			again.SetGroupVersionKind(kind)
			line.ChangedAgain = !equality.Semantic.DeepEqual(again, pod)
		}
		if err != nil {
			line.Error = err.Error()
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func admit(ctx context.Context, plugin *generic.Plugin[mutating.PolicyHook], pod *core.Pod) error {
	attributes := admission.NewAttributesRecord(pod, nil, core.SchemeGroupVersion.WithKind("Pod"), pod.Namespace, pod.Name,
		core.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "test"})
	return plugin.Dispatch(ctx, attributes, admission.NewObjectInterfacesFromScheme(scheme.Scheme))
}
