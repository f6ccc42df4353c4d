//! What is added to one pod template, and how it is taken out again.
//!
//! An annotation records every list and every variable that was added, so that removing restores what was
//! there before.

use super::quantity;
use super::tree::{Map, Node};
use crate::commands::env;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// How the dynamic linker finds the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preload {
    /// The variable LD_PRELOAD: glibc and musl; an image's own ENV LD_PRELOAD is lost
    Env,
    /// A mounted /etc/ld.so.preload: glibc only; keeps an image's own ENV LD_PRELOAD
    File,
}

/// The name of the init container and of the volume. A pod with its own thing of that name gets `proclens-2`.
const NAME: &str = "proclens";
/// The name of the volume with `ld.so.preload` ends with this.
const PRELOAD_VOLUME: &str = "-preload";
/// Where the volume is mounted.
const DIRECTORY: &str = "/opt/proclens";
const LIBRARY: &str = "/opt/proclens/libproclens.so";
const PRELOAD_FILE: &str = "/etc/ld.so.preload";
/// The annotation that marks an injected pod, with the version of this tool.
const INJECTED: &str = "proclens.dev/injected";
/// The annotation with the [`Record`].
const ADDED: &str = "proclens.dev/added";
/// The content of the mounted `/etc/ld.so.preload`.
const PRELOAD_CONTENT: &str = "proclens.dev/ld.so.preload";
/// The kubelet marks the pods with it that it only shows: those of files on the node.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// A pod with this label and the value `off` stays as it is.
const SWITCH: &str = "proclens";
/// A pod with this label and the value `on` gets variables for Go and static programs.
const VARIABLES: &str = "proclens-env";
/// The lists of containers. Ephemeral containers cannot be part of a manifest.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];
/// In a [`Record`]: the variable LD_PRELOAD existed and had no value.
const VALUE: &str = "LD_PRELOAD value";

/// What was added.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    name: String,
    /// Maps and lists of the pod that did not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pod: Vec<String>,
    /// For each changed container the lists that did not exist, and the variables.
    containers: BTreeMap<String, Vec<String>>,
}

/// Removes what [`inject`] added.
pub fn eject(template: &mut Map) {
    let record = template
        .map("metadata")
        .and_then(|metadata| metadata.map("annotations"))
        .and_then(|annotations| serde_json::from_str(annotations.text(ADDED)?).ok());
    let Some(record): Option<Record> = record else {
        return;
    };
    if let Some(metadata) = template.map_mut("metadata") {
        if let Some(annotations) = metadata.map_mut("annotations") {
            for name in [INJECTED, ADDED, PRELOAD_CONTENT] {
                annotations.remove(name);
            }
        }
        remove_empty(metadata, "annotations", &record.pod);
    }
    remove_empty(template, "metadata", &record.pod);
    let Some(spec) = template.map_mut("spec") else {
        return;
    };
    let preload_volume = format!("{}{PRELOAD_VOLUME}", record.name);
    let is_ours = |entry: &Node| {
        let name = entry.as_map().and_then(|entry| entry.text("name"));
        name == Some(&record.name) || name == Some(&preload_volume)
    };
    for list in ["initContainers", "volumes"] {
        if let Some(entries) = spec.list_mut(list) {
            entries.retain(|entry| !is_ours(entry));
        }
        remove_empty(spec, list, &record.pod);
    }
    for container in containers(spec) {
        let name = container.text("name").unwrap_or_default();
        let Some(added) = record.containers.get(name) else {
            continue;
        };
        if let Some(mounts) = container.list_mut("volumeMounts") {
            mounts.retain(|mount| !is_ours(mount));
        }
        if let Some(variables) = container.list_mut("env") {
            variables.retain(|variable| {
                let name = variable.as_map().and_then(|variable| variable.text("name"));
                !added.iter().any(|added| Some(added.as_str()) == name)
            });
            if let Some(own) = preload(variables)
                && let Some(value) = own.text("value")
                && let Some(rest) = value.strip_suffix(LIBRARY)
            {
                let rest = rest.strip_suffix(':').unwrap_or(rest).to_owned();
                if rest.is_empty() && added.iter().any(|added| added == VALUE) {
                    own.remove("value");
                } else {
                    own.set("value", Node::string(rest));
                }
            }
        }
        for list in ["volumeMounts", "env"] {
            remove_empty(container, list, added);
        }
    }
}

/// Removes the empty list or map `name` if it was added.
fn remove_empty(map: &mut Map, name: &str, added: &[String]) {
    let is_empty = match map.get(name) {
        Some(Node::List(list)) => list.is_empty(),
        Some(Node::Map(map)) => map.0.is_empty(),
        _ => false,
    };
    if is_empty && added.iter().any(|added| added == name) {
        map.remove(name);
    }
}

fn containers(spec: &mut Map) -> impl Iterator<Item = &mut Map> {
    let lists = spec
        .0
        .iter_mut()
        .filter(|(key, _)| CONTAINERS.contains(&key.text.as_str()));
    lists
        .filter_map(|(_, list)| match list {
            Node::List(list) => Some(list),
            _ => None,
        })
        .flatten()
        .filter_map(Node::as_map_mut)
}

/// The variable LD_PRELOAD. If there are two, the last one counts.
fn preload(variables: &mut [Node]) -> Option<&mut Map> {
    variables
        .iter_mut()
        .rev()
        .filter_map(Node::as_map_mut)
        .find(|variable| variable.text("name") == Some("LD_PRELOAD"))
}

/// Adds the library to each container of a pod template that can have it.
pub fn inject(template: &mut Map, image: &str, way: Preload) {
    let metadata = template.map("metadata");
    let label = |name: &str| metadata?.map("labels")?.text(name);
    let has_annotation = |name: &str| {
        metadata.is_some_and(|metadata| {
            metadata
                .map("annotations")
                .is_some_and(|all| all.get(name).is_some())
        })
    };
    if label(SWITCH) == Some("off") || has_annotation(INJECTED) || has_annotation(MIRROR) {
        return;
    }
    let wants_variables = label(VARIABLES) == Some("on");
    let Some(spec) = template.map_mut("spec") else {
        return;
    };
    let os = spec.map("os").and_then(|os| os.text("name"));
    let node = spec.map("nodeSelector");
    let node_os = node.and_then(|labels| labels.text("kubernetes.io/os"));
    if [os, node_os].contains(&Some("windows")) {
        return;
    }
    let mut record = Record {
        name: free_name(spec),
        ..Record::default()
    };
    let pod_limits = Limits::of(spec);
    for container in containers(spec) {
        if is_left_alone(container, way) {
            continue;
        }
        let name = container.text("name").unwrap_or_default().to_owned();
        let added = record.containers.entry(name).or_default();
        add_mounts(container, &record.name, way, added);
        add_variables(container, way, &pod_limits, wants_variables, added);
    }
    if record.containers.is_empty() {
        return;
    }
    let mut volumes = vec![json!({"name": record.name, "emptyDir": {"sizeLimit": "16Mi"}})];
    if way == Preload::File {
        volumes.push(json!({
            "name": format!("{}{PRELOAD_VOLUME}", record.name),
            "downwardAPI": {"items": [{
                "path": "ld.so.preload",
                "fieldRef": {"fieldPath": format!("metadata.annotations['{PRELOAD_CONTENT}']")},
            }]},
        }));
    }
    list_of(spec, "volumes", &mut record.pod).extend(volumes.into_iter().map(Node::from));
    list_of(spec, "initContainers", &mut record.pod).insert(
        0,
        Node::from(json!({
            "name": record.name,
            "image": image,
            "args": ["install", "--to", DIRECTORY],
            "volumeMounts": [{"name": record.name, "mountPath": DIRECTORY}],
            "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}},
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65534, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        })),
    );
    let metadata = map_of(template, "metadata", &mut record.pod);
    let annotations = map_of(metadata, "annotations", &mut record.pod);
    let done = format!("init container, version {}", env!("CARGO_PKG_VERSION"));
    annotations.set(INJECTED, Node::string(done));
    if way == Preload::File {
        annotations.set(PRELOAD_CONTENT, Node::string(LIBRARY));
    }
    let record = serde_json::to_string(&record).expect("strings become JSON");
    annotations.set(ADDED, Node::string(record));
}

/// The first of `proclens`, `proclens-2`, ... that no volume and no container of the pod has.
fn free_name(spec: &Map) -> String {
    let is_free = |name: &str| {
        ["volumes", "ephemeralContainers"]
            .into_iter()
            .chain(CONTAINERS)
            .flat_map(|list| spec.list(list))
            .filter_map(|entry| entry.as_map()?.text("name"))
            .all(|used| used != name && used.strip_suffix(PRELOAD_VOLUME) != Some(name))
    };
    let mut name = NAME.to_owned();
    for number in 2.. {
        if is_free(&name) {
            break;
        }
        name = format!("{NAME}-{number}");
    }
    name
}

/// True if the container cannot have the library or has it already.
fn is_left_alone(container: &mut Map, way: Preload) -> bool {
    // A mount of the container at these paths or around them would hide ours, or ours its.
    let is_around = |mount: &str| {
        let mount = mount.trim_end_matches('/');
        let rest = mount.strip_prefix(DIRECTORY);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || mount.is_empty()
            || mount == "/opt"
            || (way == Preload::File && [PRELOAD_FILE, "/etc"].contains(&mount))
    };
    let mut mounts = container.list("volumeMounts").iter();
    if mounts.any(|mount| {
        let path = mount.as_map().and_then(|mount| mount.text("mountPath"));
        path.is_some_and(is_around)
    }) {
        return true;
    }
    let variables = container.list_mut("env").map_or(&mut [][..], |list| list);
    let Some(own) = preload(variables) else {
        return false;
    };
    // A value that comes from elsewhere (`valueFrom`) cannot be extended.
    let is_from_elsewhere = own.get("valueFrom").is_some();
    let has_library = own
        .text("value")
        .is_some_and(|value| value.contains("libproclens.so"));
    has_library || (way == Preload::Env && is_from_elsewhere)
}

fn add_mounts(container: &mut Map, volume: &str, way: Preload, added: &mut Vec<String>) {
    let mounts = list_of(container, "volumeMounts", added);
    mounts.push(Node::from(
        json!({"name": volume, "mountPath": DIRECTORY, "readOnly": true}),
    ));
    if way == Preload::File {
        mounts.push(Node::from(json!({
            "name": format!("{volume}{PRELOAD_VOLUME}"), "mountPath": PRELOAD_FILE,
            "subPath": "ld.so.preload", "readOnly": true,
        })));
    }
}

fn add_variables(
    container: &mut Map,
    way: Preload,
    pod_limits: &Limits,
    wants_variables: bool,
    added: &mut Vec<String>,
) {
    let limits = Limits::of(container);
    let mut variables = Vec::new();
    if way == Preload::Env {
        let own = container.list_mut("env").and_then(|list| preload(list));
        match own {
            Some(own) => {
                if own.get("value").is_none() {
                    added.push(VALUE.to_owned());
                }
                let value = own.text("value").unwrap_or_default();
                let separator = if value.is_empty() { "" } else { ":" };
                let value = format!("{value}{separator}{LIBRARY}");
                own.set("value", Node::string(value));
            }
            None => variables.push(("LD_PRELOAD", LIBRARY.to_owned())),
        }
    }
    // A container cannot see the pod's own limits in its cgroup namespace. It sees its own, which are not
    // larger and can be changed while the pod runs.
    if let (None, Some(cpus)) = (limits.milli_cpus, pod_limits.milli_cpus) {
        variables.push(("PROCLENS_CPUS", decimal(cpus)));
    }
    if let (None, Some(bytes)) = (limits.bytes, pod_limits.bytes) {
        variables.push(("PROCLENS_MEMORY", bytes.to_string()));
    }
    if wants_variables {
        let cpus = limits.milli_cpus.or(pod_limits.milli_cpus);
        let cpus = cpus.map(|cpus| u32::try_from(cpus.div_ceil(1000)).unwrap_or(u32::MAX));
        let bytes = limits.bytes.or(pod_limits.bytes);
        variables.extend(env::variables(cpus, bytes));
    }
    let has = |name: &str| {
        let mut own = container.list("env").iter();
        own.any(|variable| variable.as_map().and_then(|own| own.text("name")) == Some(name))
    };
    variables.retain(|(name, _)| !has(name));
    if variables.is_empty() {
        return;
    }
    let env = list_of(container, "env", added);
    for (name, value) in variables {
        env.push(Node::from(json!({"name": name, "value": value})));
        added.push(name.to_owned());
    }
}

/// The limits of a pod or of a container.
struct Limits {
    milli_cpus: Option<u64>,
    bytes: Option<u64>,
}

impl Limits {
    /// A limit of nothing, and a limit that is no quantity, is no limit.
    fn of(holder: &Map) -> Limits {
        let limit = |name: &str| holder.map("resources")?.map("limits")?.text(name);
        Limits {
            milli_cpus: limit("cpu")
                .and_then(quantity::milli_cpus)
                .filter(|cpus| *cpus > 0),
            bytes: limit("memory")
                .and_then(quantity::bytes)
                .filter(|bytes| *bytes > 0),
        }
    }
}

/// Thousandths of a CPU as a decimal fraction.
fn decimal(milli_cpus: u64) -> String {
    let text = format!("{}.{:03}", milli_cpus / 1000, milli_cpus % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The list `name`, which is noted in `added` if it did not exist.
fn list_of<'m>(map: &'m mut Map, name: &str, added: &mut Vec<String>) -> &'m mut Vec<Node> {
    if !matches!(map.get(name), Some(Node::List(_))) {
        added.push(name.to_owned());
        map.set(name, Node::List(Vec::new()));
    }
    map.list_mut(name).expect("a list was just put there")
}

/// The map `name`, which is noted in `added` if it did not exist.
fn map_of<'m>(map: &'m mut Map, name: &str, added: &mut Vec<String>) -> &'m mut Map {
    if !matches!(map.get(name), Some(Node::Map(_))) {
        added.push(name.to_owned());
        map.set(name, Node::Map(Map::default()));
    }
    map.map_mut(name).expect("a map was just put there")
}
