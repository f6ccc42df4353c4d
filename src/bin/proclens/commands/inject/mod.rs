//! `proclens inject`: reads Kubernetes workloads from standard input and writes them to standard output
//! with the library in each container. For clusters before 1.36, which cannot mount an image as a volume by
//! policy.
//!
//! An init container copies the library from the release image into an `emptyDir`; each container mounts
//! that volume and gets `LD_PRELOAD`. Injecting twice gives the same result as injecting once.

mod pod;
mod quantity;
mod tree;
mod yaml;

use crate::output::failure::{Failure, Result};
pub use pod::Preload;
use serde_json::Value;
use std::io::{Read, Write};
use tree::{Map, Node};

/// Reads all documents, changes the workloads among them, and writes all documents. A document that does
/// not change keeps its text.
pub fn run(
    image: Option<&str>,
    preload: Preload,
    remove: bool,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<()> {
    let mut bytes = Vec::new();
    input
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new("standard input", crate::output::failure::reason(&error)))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        broken(line, "not UTF-8")
    })?;
    let change = |template: &mut Map| {
        pod::eject(template);
        if let (Some(image), false) = (image, remove) {
            pod::inject(template, image, preload);
        }
    };
    let begins_as_json = text.trim_start().starts_with(['{', '[']);
    let json = begins_as_json.then(|| json_documents(text, change));
    let result = match json {
        Some(Ok(result)) => result,
        // `{kind: Pod}` is YAML. For a text that is neither, the problem with the JSON is more helpful.
        Some(Err(problem)) => yaml_documents(text, change).map_err(|_| problem)?,
        None => yaml_documents(text, change)?,
    };
    // Write the output as a whole, after all of the input was parsed.
    Ok(out.write_all(result.as_bytes())?)
}

fn broken(line: usize, what: &str) -> Failure {
    let one_line = what.split_whitespace().collect::<Vec<_>>().join(" ");
    Failure::new(format_args!("standard input: line {line}"), one_line)
}

/// JSON documents one after another, as `kubectl` reads them.
fn json_documents(text: &str, change: impl Fn(&mut Map)) -> Result<String> {
    let mut result = String::new();
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut end = 0;
    while let Some(document) = documents.next() {
        let document = document.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            broken(error.line(), &format!("not JSON: {reason}"))
        })?;
        let begin = end;
        end = documents.byte_offset();
        let mut node = Node::from(document);
        if change_workloads(&mut node, &change) {
            let gap = text[begin..end].find(|letter: char| !letter.is_whitespace());
            result.push_str(&text[begin..begin + gap.unwrap_or_default()]);
            result.push_str(&format!("{:#}", Value::from(&node)));
        } else {
            result.push_str(&text[begin..end]);
        }
    }
    result.push_str(&text[end..]);
    if result != text && !result.ends_with('\n') {
        result.push('\n');
    }
    Ok(result)
}

fn yaml_documents(text: &str, change: impl Fn(&mut Map)) -> Result<String> {
    let mut result = String::new();
    let mut lines_before = 0;
    for part in split(text) {
        let problem = |kind: &str, problem: yaml::Problem| {
            let what = format!("not {kind}: {}", problem.what);
            broken(lines_before + problem.line, &what)
        };
        let document = yaml::read(part).map_err(|broken| problem("YAML", broken))?;
        let mut root = document.root;
        let is_changed = root
            .as_mut()
            .is_some_and(|root| change_workloads(root, &change));
        match root {
            Some(root) if is_changed => {
                if let Some(unsupported) = document.unsupported {
                    return Err(problem("a Kubernetes object", unsupported));
                }
                result.push_str(&head(part));
                let text = yaml::write(&root);
                if part.contains("\r\n") {
                    result.push_str(&text.replace('\n', "\r\n"));
                } else {
                    result.push_str(&text);
                }
            }
            _ => result.push_str(part),
        }
        lines_before += part.matches('\n').count();
    }
    Ok(result)
}

/// The documents of a stream, each with its `---` line and what stands before it.
fn split(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    // True if there is more than comments since the last start.
    let mut has_content = false;
    for line in text.split_inclusive('\n') {
        if is_marker(line, "---") {
            if has_content {
                starts.push(at);
            }
            has_content = true;
        }
        let words = line.trim_start_matches('\u{feff}').trim();
        has_content |= !words.is_empty() && !words.starts_with(['#', '%']);
        at += line.len();
        if is_marker(line, "...") {
            starts.push(at);
            has_content = false;
        }
    }
    starts.push(text.len());
    starts
        .windows(2)
        .map(|range| &text[range[0]..range[1]])
        .collect()
}

/// True if the line begins with a document marker.
fn is_marker(line: &str, marker: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}');
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// What stays of a document that is written anew: the lines before its content. They are comments, and the
/// `---` line unless content follows on that line.
fn head(part: &str) -> String {
    let mut end = 0;
    for line in part.split_inclusive('\n') {
        let words = line.trim_start_matches('\u{feff}').trim();
        let rest = words.strip_prefix("---").filter(|_| is_marker(line, "---"));
        if let Some(rest) = rest
            && !rest.trim().is_empty()
            && !rest.trim().starts_with('#')
        {
            // Content follows the marker.
            let marker = line.find("---").unwrap_or_default();
            return format!("{}---\n", &part[..end + marker]);
        }
        if rest.is_none() && !words.is_empty() && !words.starts_with(['#', '%']) {
            break;
        }
        end += line.len();
    }
    part[..end].to_owned()
}

/// Calls `with` for each pod or pod template in `document`. True if one of them changed.
fn change_workloads(document: &mut Node, with: &dyn Fn(&mut Map)) -> bool {
    let Node::Map(object) = document else {
        return false;
    };
    let kind = object.text("kind").unwrap_or_default().to_owned();
    let version = object.text("apiVersion").unwrap_or("v1");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    // Other groups have kinds of the same names.
    if !["", "apps", "batch", "extensions"].contains(&group) {
        return false;
    }
    let path: &[&str] = match kind.as_str() {
        "List" => {
            let items = object.list_mut("items").into_iter().flatten();
            return items.fold(false, |any, item| change_workloads(item, with) | any);
        }
        "Pod" => &[],
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => &["spec", "template"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        _ => return false,
    };
    let template = path
        .iter()
        .try_fold(object, |object, name| object.map_mut(name));
    let Some(template) = template.filter(|template| template.map("spec").is_some()) else {
        return false;
    };
    let before = template.clone();
    with(template);
    *template != before
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "registry.example/proclens:0.2.0";
    const LIBRARY: &str = "/opt/proclens/libproclens.so";

    fn tried(input: &[u8], preload: Preload, remove: bool) -> Result<String> {
        let mut out = Vec::new();
        let image = (!remove).then_some(IMAGE);
        run(image, preload, remove, &mut &*input, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn injected(input: &str) -> String {
        tried(input.as_bytes(), Preload::Env, false).unwrap()
    }

    fn values(text: &str) -> Value {
        Value::from(&yaml::read(text).unwrap().root.unwrap())
    }

    /// The variables of a container.
    fn variables(container: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let list = container["env"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|variable| (text(&variable["name"]), text(&variable["value"])))
            .collect()
    }

    const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  initContainers:
  - name: first
    image: a
    restartPolicy: Always
  containers:
  - name: app
    image: b
    env:
    - name: LD_PRELOAD
      value: /usr/lib/libjemalloc.so
    - name: GOMAXPROCS
      value: \"7\"
  - name: other
    image: c
    env:
    - name: LD_PRELOAD
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
  - name: empty
    image: d
    env: []
    volumeMounts: []
  - name: novalue
    image: e
    env:
    - name: LD_PRELOAD
  - name: emptyvalue
    image: f
    env:
    - name: LD_PRELOAD
      value: \"\"
  - name: twice
    image: g
    env:
    - name: LD_PRELOAD
      value: /first.so
    - name: LD_PRELOAD
      value: /second.so
    resources:
      limits:
        cpu: 1500m
        memory: 1Gi
  restartPolicy: Always
";

    #[test]
    fn injecting_twice_equals_injecting_once_and_remove_undoes_it() {
        let labelled = POD.replace(
            "name: web",
            "name: web\n  labels:\n    proclens-env: \"on\"\n  annotations: {}",
        );
        let limited = labelled.replace(
            "spec:\n",
            "spec:\n  resources:\n    limits:\n      cpu: 2\n",
        );
        let bare = "kind: Pod\nspec:\n  containers:\n  - name: a\n";
        for text in [POD, &labelled, &limited, bare] {
            for preload in [Preload::Env, Preload::File] {
                let once = tried(text.as_bytes(), preload, false).unwrap();
                assert_ne!(once, text);
                assert_eq!(tried(once.as_bytes(), preload, false).unwrap(), once);
                assert_eq!(tried(once.as_bytes(), preload, true).unwrap(), text);
                // The other way replaces the first one.
                for other in [Preload::Env, Preload::File] {
                    let changed = tried(once.as_bytes(), other, false).unwrap();
                    let direct = tried(text.as_bytes(), other, false).unwrap();
                    assert_eq!(changed, direct);
                }
            }
            assert_eq!(tried(text.as_bytes(), Preload::Env, true).unwrap(), text);
        }
    }

    #[test]
    fn each_container_keeps_its_own_preload() {
        let pod = values(&injected(POD));
        let spec = &pod["spec"];
        assert_eq!(spec["initContainers"][0]["name"], "proclens");
        assert_eq!(spec["initContainers"][1]["env"][0]["value"], LIBRARY);
        let preloads = |number: usize| -> Vec<String> {
            let all = variables(&spec["containers"][number]);
            let own = all.into_iter().filter(|(name, _)| name == "LD_PRELOAD");
            own.map(|(_, value)| value).collect()
        };
        assert_eq!(preloads(0), [format!("/usr/lib/libjemalloc.so:{LIBRARY}")]);
        assert!(spec["containers"][1].get("volumeMounts").is_none());
        for number in [2, 3, 4] {
            assert_eq!(preloads(number), [LIBRARY], "{number}");
        }
        // The last of two variables counts.
        let second = format!("/second.so:{LIBRARY}");
        assert_eq!(preloads(5), ["/first.so", second.as_str()]);
    }

    #[test]
    fn documents_that_are_no_workloads_keep_their_bytes() {
        let others = [
            "# a comment\nkind: Service\nspec: {a: 1} # x\n",
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  1: a\n  script: |\n    a: '\n      --- \n    kind: Pod\n",
            "? [a, b]\n: c\n",
            "",
            "\n",
            "# only a comment\n",
            "- kind: Pod\n- {a: b}\n",
            "text\n",
            "kind: Pod\r\nspec: null\r\n",
            "kind: Pod\nmetadata: {}\n",
            "apiVersion: example.com/v1\nkind: Pod\nspec: {containers: [{name: a}]}\n",
            "apiVersion: v1\nkind: List\nitems: []\n",
            "apiVersion: v1\nkind: List\nitems: [{kind: Service}, {kind: Secret}]\n",
            "apiVersion: v1\nkind: List\n",
            "kind: Pod\nspec: {containers: []}\n",
            "kind: [Pod]\n",
            "a: &x 1\nb: *x\n...\n",
            "%YAML 1.1\n---\nkind: Service\n...\n",
        ];
        for text in others {
            assert_eq!(injected(text), text);
            if text.starts_with('%') {
                continue;
            }
            let stream = format!("{text}---\n{POD}--- # next\n{text}");
            let result = injected(&stream);
            let rest = result.strip_prefix(text).expect(text);
            assert!(
                rest.starts_with("---\napiVersion: v1\nkind: Pod\n"),
                "{rest}"
            );
            assert!(rest.ends_with(&format!("--- # next\n{text}")), "{rest}");
        }
        for text in [
            "{\"kind\": \"Service\"}",
            "{}\n{}",
            "[1, 2]",
            "{\"a\": 1.0e3}\n\n",
        ] {
            assert_eq!(injected(text), text);
        }
    }

    #[test]
    fn all_kinds_of_workloads() {
        let template = r#"{"spec":{"containers":[{"name":"a","image":"b"}]}}"#;
        let first = "/spec/containers/0/env/0/value";
        let mut items = Vec::new();
        for kind in [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
        ] {
            items.push(format!(
                r#"{{"kind":"{kind}","spec":{{"template":{template}}}}}"#
            ));
        }
        items.push(format!(
            r#"{{"apiVersion":"batch/v1","kind":"CronJob","spec":{{"jobTemplate":{{"spec":{{"template":{template}}}}}}}}}"#
        ));
        for item in &items {
            let result = values(&injected(item));
            let below = if item.contains("CronJob") {
                "/spec/jobTemplate/spec/template"
            } else {
                "/spec/template"
            };
            let value = result.pointer(&format!("{below}{first}"));
            assert_eq!(value.unwrap(), LIBRARY, "{item}");
        }
        // A list, a list in a list, and a stream without anything between.
        let list = format!(
            r#"{{"kind":"List","items":[{{"kind":"Secret"}},{{"kind":"List","items":[{}]}}]}}"#,
            items.join(",")
        );
        let result = injected(&list);
        assert_eq!(result.matches(LIBRARY).count(), items.len());
        assert_eq!(injected(&result), result);
        let stream = format!("{}{{\"kind\":\"Service\"}}\n{}", items[0], items[6]);
        let result = injected(&stream);
        assert_eq!(result.matches(LIBRARY).count(), 2);
        assert!(result.contains("{\"kind\":\"Service\"}\n{"), "{result}");
    }

    #[test]
    fn some_pods_stay_unchanged() {
        for text in [
            "kind: Pod\nmetadata: {labels: {proclens: 'off'}}\nspec: {containers: [{name: a}]}\n",
            "kind: Pod\nspec: {os: {name: windows}, containers: [{name: a}]}\n",
            "kind: Pod\nspec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{name: a}]}\n",
            "kind: Pod\nmetadata: {annotations: {kubernetes.io/config.mirror: x}}\nspec: {containers: [{name: a}]}\n",
            // Injected by the policy.
            "kind: Pod\nmetadata: {annotations: {proclens.dev/injected: x}}\nspec: {containers: [{name: a}]}\n",
            "kind: Pod\nspec: {containers: [{name: a, env: [{name: LD_PRELOAD, value: /x/libproclens.so}]}]}\n",
            "kind: Pod\nspec: {containers: [{name: a, volumeMounts: [{name: v, mountPath: /opt/proclens/}]}]}\n",
            "kind: Pod\nspec: {containers: [{name: a, volumeMounts: [{name: v, mountPath: /opt}]}]}\n",
        ] {
            assert_eq!(injected(text), text);
            assert_eq!(tried(text.as_bytes(), Preload::Env, true).unwrap(), text);
        }
    }

    #[test]
    fn names_that_the_pod_uses_are_not_taken() {
        let text = "kind: Pod\nspec:\n  containers:\n  - name: proclens\n    volumeMounts:\n    - name: proclens-2\n      mountPath: /data\n  volumes:\n  - name: proclens-2\n    emptyDir: {}\n  - name: proclens-3-preload\n    emptyDir: {}\n";
        let once = injected(text);
        let pod = values(&once);
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "proclens-4");
        assert_eq!(pod["spec"]["volumes"][2]["name"], "proclens-4");
        assert_eq!(injected(&once), once);
        assert_eq!(tried(once.as_bytes(), Preload::Env, true).unwrap(), text);
    }

    #[test]
    fn fifty_containers() {
        let containers: String = (0..50).map(|n| format!("  - name: c{n}\n")).collect();
        let text = format!("kind: Pod\nspec:\n  containers:\n{containers}");
        let once = injected(&text);
        assert_eq!(once.matches(LIBRARY).count(), 50);
        assert_eq!(injected(&once), once);
        assert_eq!(tried(once.as_bytes(), Preload::Env, true).unwrap(), text);
    }

    #[test]
    fn limits_of_the_pod_become_settings() {
        let text = "\
kind: Pod
metadata: {labels: {proclens-env: 'on'}}
spec:
  resources: {limits: {cpu: 1500m, memory: 1.5Gi}}
  containers:
  - {name: a, env: [{name: GOMEMLIMIT, value: own}]}
  - {name: b, resources: {limits: {cpu: 0.5, memory: 500M}}}
  - {name: c, resources: {limits: {memory: 1e3}}}
";
        let pod = values(&injected(text));
        let value = |container: usize, name: &str| {
            let all = variables(&pod["spec"]["containers"][container]);
            let found = all.into_iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value).unwrap_or_default()
        };
        assert_eq!(value(0, "PROCLENS_CPUS"), "1.5");
        assert_eq!(value(0, "PROCLENS_MEMORY"), "1610612736");
        assert_eq!(value(0, "GOMAXPROCS"), "2");
        assert_eq!(value(0, "OMP_NUM_THREADS"), "2");
        assert_eq!(value(0, "GOMEMLIMIT"), "own");
        // The container sees limits of its own.
        assert_eq!(value(1, "PROCLENS_CPUS"), "");
        assert_eq!(value(1, "PROCLENS_MEMORY"), "");
        assert_eq!(value(1, "GOMAXPROCS"), "1");
        assert_eq!(value(1, "GOMEMLIMIT"), "450000000");
        assert_eq!(value(2, "PROCLENS_CPUS"), "1.5");
        assert_eq!(value(2, "PROCLENS_MEMORY"), "");
        assert_eq!(value(2, "GOMEMLIMIT"), "900");
    }

    #[test]
    fn scalars_keep_their_meaning() {
        let text = "\
kind: Pod
spec:
  containers:
  - name: a
    readOnly: yes
    command: [sh, -c, \"a: b\\n\", 'it''s', 0777, \"0777\", 1e3, ~, off]
    args:
    - |
      #!/bin/sh
      ---
        kind: Pod
    - >-
      folded
      text
  volumes:
  - name: c
    configMap: {defaultMode: 0644, name: \"1\"}
";
        let result = injected(text);
        for words in [
            "    readOnly: yes\n",
            "    - 0777\n    - \"0777\"\n    - 1e3\n    - ~\n    - off\n",
            "    - \"it's\"\n",
            "    - |\n      #!/bin/sh\n      ---\n        kind: Pod\n    - \"folded text\"\n",
            "      defaultMode: 0644\n      name: \"1\"\n",
        ] {
            assert!(result.contains(words), "{words} in {result}");
        }
    }

    #[test]
    fn an_anchor_that_containers_share() {
        let text = "\
kind: Pod
spec:
  containers:
  - &base
    name: a
    env: &env [{name: A, value: b}]
  - <<: *base
    name: c
  - {name: d, env: *env}
";
        let pod = values(&injected(text));
        for container in pod["spec"]["containers"].as_array().unwrap() {
            let expected = [("A", "b"), ("LD_PRELOAD", LIBRARY)];
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(variables(container), expected);
        }
    }

    #[test]
    fn what_stands_around_a_document() {
        let text = POD.replace('\n', "\r\n");
        let result = injected(&text);
        assert_eq!(result.replace("\r\n", "\n"), injected(POD));
        assert_eq!(result.matches('\n').count(), result.matches("\r\n").count());
        let result = injected(&format!("\u{feff}# top\n---\n# more\n\n{POD}---\n---\n"));
        assert!(result.starts_with("\u{feff}# top\n---\n# more\n\napiVersion: v1\nkind: Pod\n"));
        assert!(result.ends_with("---\n---\n"));
        let result = injected("--- {kind: Pod, spec: {containers: [{name: a}]}}\n--- # c\na: 1");
        assert!(result.starts_with("---\nkind: Pod\nspec:\n"), "{result}");
        assert!(result.ends_with("\n--- # c\na: 1"), "{result}");
        let result = injected("kind: Pod\nspec: {containers: [{name: a}]}");
        assert!(result.starts_with("kind: Pod\nspec:\n"), "{result}");
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        let cases: [(&[u8], &str); 8] = [
            (b"kind: Service\n---\nkind: Pod\n  a: [\n", "4"),
            (b"kind: Pod\nspec: {\n", "3"),
            (b"a: 1\nb: 'x\n", "2"),
            (b"{\"kind\": \"Pod\",\n \"spec\": {,}}\n", "2"),
            (b"{\"kind\": \"Pod\"\n", "2"),
            (b"a: 1\nb: \xff\n", "2"),
            (b"a: b\n---\na: *x\n", "3"),
            (
                b"kind: Pod\nspec: {containers: [{name: a}]}\nx:\n  ? [a]\n  : b\n",
                "4",
            ),
        ];
        for (text, line) in cases {
            let error = tried(text, Preload::Env, false).unwrap_err().to_string();
            let start = format!("standard input: line {line}: not ");
            assert!(error.starts_with(&start), "{error} for {text:?}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}
