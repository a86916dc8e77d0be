package k8scheck_test

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// manifest has the objects of sidecar.yaml.
type manifest struct {
	namespace  *corev1.Namespace
	secret     *corev1.Secret
	config     *corev1.ConfigMap
	deployment *appsv1.Deployment
	service    *corev1.Service
	network    *networkingv1.NetworkPolicy
}

// read decodes the manifest strictly: an unknown or duplicate field is an error.
func read(t *testing.T) manifest {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	text, err := os.ReadFile("../../kubernetes/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		objects = append(objects, object)
	}
	if len(objects) != 6 {
		t.Fatalf("%d objects", len(objects))
	}
	return manifest{
		namespace:  the[*corev1.Namespace](t, objects),
		secret:     the[*corev1.Secret](t, objects),
		config:     the[*corev1.ConfigMap](t, objects),
		deployment: the[*appsv1.Deployment](t, objects),
		service:    the[*corev1.Service](t, objects),
		network:    the[*networkingv1.NetworkPolicy](t, objects),
	}
}

// the returns the object of a type.
func the[T runtime.Object](t *testing.T, objects []runtime.Object) (found T) {
	t.Helper()
	for _, object := range objects {
		if o, ok := object.(T); ok {
			return o
		}
	}
	t.Fatalf("there is no %T", found)
	return found
}

func (m *manifest) gate() *corev1.Container {
	return &m.deployment.Spec.Template.Spec.InitContainers[0]
}
func (m *manifest) app() *corev1.Container { return &m.deployment.Spec.Template.Spec.Containers[0] }

func TestThePodKeepsTheRestrictedPodSecurityStandard(t *testing.T) {
	t.Parallel()
	m := read(t)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	template := &m.deployment.Spec.Template
	for _, r := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	for _, c := range []*corev1.Container{m.gate(), m.app()} {
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s can write its root file system", c.Name)
		}
		if len(c.Resources.Requests) != 2 || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: requests and a limit of memory are missing", c.Name)
		}
	}
}

func TestTheObjectsReferToEachOther(t *testing.T) {
	t.Parallel()
	m := read(t)
	labels := m.deployment.Spec.Template.Labels
	for what, selector := range map[string]map[string]string{
		"the Deployment":    m.deployment.Spec.Selector.MatchLabels,
		"the Service":       m.service.Spec.Selector,
		"the NetworkPolicy": m.network.Spec.PodSelector.MatchLabels,
	} {
		if !maps.Equal(selector, labels) {
			t.Errorf("%s selects %v, and the pods are %v", what, selector, labels)
		}
	}
	for _, o := range []interface{ GetNamespace() string }{m.secret, m.config, m.deployment, m.service, m.network} {
		if o.GetNamespace() != m.namespace.Name {
			t.Errorf("%T is in the namespace %q", o, o.GetNamespace())
		}
	}
	volumes := map[string]bool{}
	for _, v := range m.deployment.Spec.Template.Spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != m.config.Name ||
			v.Secret != nil && v.Secret.SecretName != m.secret.Name {
			t.Errorf("the volume %s is of another object", v.Name)
		}
	}
	for _, mount := range m.gate().VolumeMounts {
		if !volumes[mount.Name] || !mount.ReadOnly {
			t.Errorf("the mount %s: %+v", mount.MountPath, mount)
		}
	}
	if m.secret.Type != corev1.SecretTypeTLS || len(m.secret.StringData) != 3 {
		t.Errorf("the Secret is %s with %d files", m.secret.Type, len(m.secret.StringData))
	}
}

// The gate is the one way to the app: nothing names a port of the app, and the policy admits to ports of the gate only.
func TestTheAppIsReachedThroughTheGateOnly(t *testing.T) {
	t.Parallel()
	m := read(t)
	ports := map[string]int32{}
	for _, p := range m.gate().Ports {
		ports[p.Name] = p.ContainerPort
	}
	if len(m.app().Ports) > 0 {
		t.Errorf("the app has ports: %v", m.app().Ports)
	}
	for _, p := range m.service.Spec.Ports {
		if p.TargetPort != intstr.FromString("http") {
			t.Errorf("the Service leads to %s", p.TargetPort.String())
		}
	}
	if !slices.Equal(m.network.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
		t.Errorf("the policy is for %v", m.network.Spec.PolicyTypes)
	}
	open := map[string]bool{} // to everybody
	for _, rule := range m.network.Spec.Ingress {
		if len(rule.Ports) == 0 {
			t.Error("a rule admits to all ports")
		}
		for _, p := range rule.Ports {
			if ports[p.Port.String()] == 0 {
				t.Errorf("a rule admits to %s, which is no port of the gate", p.Port.String())
			}
			if len(rule.From) == 0 {
				open[p.Port.String()] = true
			}
		}
	}
	if !open["http"] || len(open) != 1 {
		t.Errorf("open to everybody: %v", open)
	}
}

func TestTheGateIsASidecarThatStartsFirstAndIsNotRestartedForItsUpstream(t *testing.T) {
	t.Parallel()
	m := read(t)
	gate := m.gate()
	if gate.RestartPolicy == nil || *gate.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the gate is no native sidecar")
	}
	for what, probe := range map[string]*corev1.Probe{
		"startup": gate.StartupProbe, "readiness": gate.ReadinessProbe, "liveness": gate.LivenessProbe,
	} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/health/alive" ||
			probe.HTTPGet.Port != intstr.FromString("http") {
			t.Errorf("the %s probe: %+v", what, probe)
		}
	}
	sleep := m.app().Lifecycle.PreStop.Sleep.Seconds
	if grace := *m.deployment.Spec.Template.Spec.TerminationGracePeriodSeconds; grace < 2*sleep {
		t.Errorf("%d s of grace, of which the app sleeps %d", grace, sleep)
	}
}
