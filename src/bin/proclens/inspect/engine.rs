//! Names and images of containers, from the state directories of Docker and Podman if this process can read
//! them, else from their sockets.

use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The names that a container engine gives a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub name: String,
    pub image: String,
}

/// Names by the container's full identifier (64 hexadecimal digits).
#[derive(Debug, Default)]
pub struct Engines {
    by_id: HashMap<String, Names>,
    /// The containers that no engine knew at the last reading.
    unknown: BTreeSet<String>,
}

/// `/var/lib/docker/containers/ID/config.v2.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerContainer {
    name: String,
    config: DockerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    image: String,
}

/// An entry of `containers.json` of containers/storage.
#[derive(Deserialize)]
struct PodmanContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    metadata: String,
}

/// The `metadata` of that entry, which is JSON in a string. Only the fields that are used here.
#[derive(Default, Deserialize)]
struct PodmanMetadata {
    #[serde(default, rename = "image-name")]
    image_name: String,
}

/// An entry of the list that both engines send for `/containers/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
}

/// Sockets of Docker and Podman.
const SOCKETS: [&str; 2] = ["run/docker.sock", "run/podman/podman.sock"];
/// An engine that does not respond within this time is left out.
const TIMEOUT: Duration = Duration::from_millis(200);

impl Engines {
    /// Reads the names of the containers with these cgroups from the state below `root` (`/` on a machine).
    /// Skips what this process cannot read.
    pub fn update<'c>(&mut self, root: &Path, cgroups: impl Iterator<Item = &'c str>) {
        let ids: BTreeSet<String> = cgroups
            .filter_map(|cgroup| cgroup.rsplit('/').find_map(identifier))
            .map(str::to_owned)
            .collect();
        self.by_id.retain(|id, _| ids.contains(id));
        if ids.is_empty() {
            return;
        }
        for id in &ids {
            self.read_docker(&root.join("var/lib/docker/containers").join(id), id);
        }
        let storage = fs::read_dir(root.join("var/lib/containers/storage"));
        for entry in storage.into_iter().flatten().flatten() {
            // `overlay-containers`, or the name of another storage driver.
            if entry.file_name().to_string_lossy().ends_with("-containers") {
                self.read_podman(&entry.path(), &ids);
            }
        }
        // What no engine knew at the last reading belongs to another engine: do not look it up again.
        let unknown = self.without_name(&ids);
        if unknown.is_subset(&self.unknown) {
            return;
        }
        for socket in SOCKETS {
            self.read_socket(&root.join(socket), &unknown);
        }
        self.unknown = self.without_name(&ids);
    }

    fn without_name(&self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let unknown = ids.iter().filter(|id| !self.by_id.contains_key(*id));
        unknown.cloned().collect()
    }

    fn read_socket(&mut self, socket: &Path, wanted: &BTreeSet<String>) {
        let list = containers_of(socket).unwrap_or_default();
        for found in serde_json::from_slice::<Vec<Listed>>(&list).unwrap_or_default() {
            let name = found.names.first().map_or("", String::as_str);
            let names = Names {
                name: name.trim_start_matches('/').to_owned(),
                image: found.image,
            };
            if wanted.contains(&found.id) {
                self.by_id.insert(found.id, names);
            }
        }
    }

    fn read_docker(&mut self, directory: &Path, id: &str) {
        let text = fs::read(directory.join("config.v2.json")).unwrap_or_default();
        if let Ok(found) = serde_json::from_slice::<DockerContainer>(&text) {
            let names = Names {
                name: found.name.trim_start_matches('/').to_owned(),
                image: found.config.image,
            };
            self.by_id.insert(id.to_owned(), names);
        }
    }

    fn read_podman(&mut self, directory: &Path, wanted: &BTreeSet<String>) {
        // Newer versions keep containers that are removed when they end (`--rm`) in the second file.
        let lists = ["containers.json", "volatile-containers.json"].map(|name| {
            let text = fs::read(directory.join(name)).unwrap_or_default();
            serde_json::from_slice::<Vec<PodmanContainer>>(&text).unwrap_or_default()
        });
        for found in lists.into_iter().flatten() {
            let metadata: PodmanMetadata =
                serde_json::from_str(&found.metadata).unwrap_or_default();
            let names = Names {
                name: found.names.into_iter().next().unwrap_or_default(),
                image: metadata.image_name,
            };
            if wanted.contains(&found.id) {
                self.by_id.insert(found.id, names);
            }
        }
    }

    /// The names of the container with the cgroup `cgroup`. The last component that contains a known
    /// identifier decides.
    pub fn names(&self, cgroup: &str) -> Option<&Names> {
        cgroup
            .rsplit('/')
            .find_map(|component| self.by_id.get(identifier(component)?))
    }
}

/// The response of the engine behind `socket` to `GET /containers/json`, without its head.
fn containers_of(socket: &Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP 1.0: the engine sends the list in one piece and closes the connection.
    stream.write_all(b"GET /containers/json HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(16 << 20).read_to_end(&mut response)?;
    let head = response.windows(4).position(|four| four == b"\r\n\r\n");
    Ok(response.split_off(head.map_or(response.len(), |head| head + 4)))
}

/// The 64 hexadecimal digits in `docker-ID.scope`, `libpod-ID.scope` or `ID`.
fn identifier(component: &str) -> Option<&str> {
    const LENGTH: usize = 64;
    let start = component.find('-').map_or(0, |dash| dash + 1);
    [0, start].into_iter().find_map(|start| {
        let id = component.get(start..start + LENGTH)?;
        id.bytes().all(|b| b.is_ascii_hexdigit()).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_state_of_docker_and_podman() {
        let root = tempfile::tempdir().unwrap();
        let id = "0123456789abcdef".repeat(4);
        let other = "f".repeat(64);
        let docker = root.path().join("var/lib/docker/containers").join(&id);
        fs::create_dir_all(&docker).unwrap();
        fs::write(
            docker.join("config.v2.json"),
            r#"{"Name":"/web","Config":{"Image":"nginx:1"},"State":{}}"#,
        )
        .unwrap();
        let podman = root
            .path()
            .join("var/lib/containers/storage/overlay-containers");
        fs::create_dir_all(&podman).unwrap();
        let list = format!(
            r#"[{{"id":"{other}","names":["db"],"metadata":"{{\"image-name\":\"postgres:17\"}}"}}]"#
        );
        fs::write(podman.join("containers.json"), list).unwrap();
        let third = "e".repeat(64);
        let list = format!(r#"[{{"id":"{third}","names":["job"]}}]"#);
        fs::write(podman.join("volatile-containers.json"), list).unwrap();
        let mut engines = Engines::default();
        let cgroups = [
            format!("/docker/{id}"),
            format!("/machine.slice/libpod-{other}.scope"),
            format!("/machine.slice/libpod-{third}.scope"),
        ];
        engines.update(root.path(), cgroups.iter().map(String::as_str));
        let names = |name: &str, image: &str| Names {
            name: name.to_owned(),
            image: image.to_owned(),
        };
        let web = names("web", "nginx:1");
        for cgroup in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}/below"),
        ] {
            assert_eq!(engines.names(&cgroup), Some(&web), "{cgroup}");
        }
        assert_eq!(
            engines.names(&format!("/machine.slice/libpod-{other}.scope/container")),
            Some(&names("db", "postgres:17"))
        );
        assert_eq!(engines.names(&cgroups[2]), Some(&names("job", "")));
        assert_eq!(engines.names("/docker/other"), None);
    }

    #[test]
    fn broken_state_gives_no_names() {
        let root = tempfile::tempdir().unwrap();
        let docker = root.path().join("var/lib/docker/containers/x");
        fs::create_dir_all(&docker).unwrap();
        fs::write(docker.join("config.v2.json"), "{").unwrap();
        let mut engines = Engines::default();
        let cgroup = format!("/docker/{}", "a".repeat(64));
        engines.update(root.path(), [cgroup.as_str()].into_iter());
        assert!(engines.by_id.is_empty());
    }

    #[test]
    fn a_socket_names_what_no_directory_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        let listener =
            std::os::unix::net::UnixListener::bind(root.path().join("run/docker.sock")).unwrap();
        let id = "0123456789abcdef".repeat(4);
        let list = format!(r#"[{{"Id":"{id}","Names":["/web"],"Image":"nginx:1","Ports":[]}}]"#);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /containers/json HTTP/1.0\r\n"));
            write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{list}"
            )
            .unwrap();
        });
        let mut engines = Engines::default();
        let cgroup = format!("/docker/{id}");
        engines.update(root.path(), [cgroup.as_str()].into_iter());
        server.join().unwrap();
        let web = Names {
            name: "web".to_owned(),
            image: "nginx:1".to_owned(),
        };
        assert_eq!(engines.names(&cgroup), Some(&web));
        // No engine listens at the socket any more. The names stay valid as long as the container runs.
        engines.update(root.path(), [cgroup.as_str()].into_iter());
        assert_eq!(engines.names(&cgroup), Some(&web));
        engines.update(root.path(), std::iter::empty());
        assert_eq!(engines.names(&cgroup), None);
    }
}
