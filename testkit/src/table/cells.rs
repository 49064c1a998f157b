//! The cells of built-in kinds, as the real server prints them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, since};
use crate::kind::Kind;
use crate::write::print_selector;

const NONE: &str = "<none>";

/// The cells of one object, in the order of its kind's columns.
pub(super) fn builtin(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let view = View { object, now };
    let mut cells = vec![json!(view.text("/metadata/name"))];
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => view.pod(&mut cells),
        ("", "Namespace") => cells.extend([json!(view.text("/status/phase")), view.age()]),
        ("", "Node") => view.node(&mut cells),
        ("", "Secret") => {
            cells.extend([json!(view.text("/type")), json!(view.size("/data")), view.age()]);
        }
        ("", "ConfigMap") => {
            cells.extend([json!(view.size("/data") + view.size("/binaryData")), view.age()]);
        }
        ("", "ServiceAccount") => cells.push(view.age()),
        ("", "Service") => view.service(&mut cells),
        (_, "Event") => {
            cells.clear();
            view.event(&mut cells);
        }
        ("apps", "Deployment") => {
            let ready = format!(
                "{}/{}",
                view.number("/status/readyReplicas"),
                view.number("/spec/replicas")
            );
            let updated = view.number("/status/updatedReplicas");
            let available = view.number("/status/availableReplicas");
            cells.extend([json!(ready), json!(updated), json!(available), view.age()]);
            view.template(&mut cells);
            cells.push(view.selector());
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let counts = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"];
            cells.extend(counts.map(|path| json!(view.number(path))));
            cells.push(view.age());
            view.template(&mut cells);
            cells.push(view.selector());
        }
        ("apps", "StatefulSet") => {
            let ready = format!(
                "{}/{}",
                view.number("/status/readyReplicas"),
                view.number("/spec/replicas")
            );
            cells.extend([json!(ready), view.age()]);
            view.template(&mut cells);
        }
        ("apps", "DaemonSet") => {
            let counts = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ];
            cells.extend(counts.map(|field| json!(view.number(&format!("/status/{field}")))));
            let nodes = print_selector(object.pointer("/spec/template/spec/nodeSelector"));
            cells.extend([json!(or_none(&nodes)), view.age()]);
            view.template(&mut cells);
            cells.push(view.selector());
        }
        ("batch", "Job") => view.job(&mut cells),
        ("batch", "CronJob") => view.cron_job(&mut cells),
        ("coordination.k8s.io", "Lease") => {
            cells.extend([json!(view.text("/spec/holderIdentity")), view.age()]);
        }
        ("networking.k8s.io", "Ingress") => view.ingress(&mut cells),
        ("networking.k8s.io", "NetworkPolicy") => {
            let pods = print_selector(object.pointer("/spec/podSelector"));
            cells.extend([json!(or_none(&pods)), view.age()]);
        }
        ("", "PersistentVolume") => view.volume(&mut cells),
        ("", "PersistentVolumeClaim") => view.claim(&mut cells),
        ("", "Endpoints") => cells.extend([json!(view.endpoints()), view.age()]),
        ("discovery.k8s.io", "EndpointSlice") => view.slice(&mut cells),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => view.binding(&mut cells),
        ("policy", "PodDisruptionBudget") => {
            let or_na = |path: &str| object.pointer(path).map_or_else(|| "N/A".to_owned(), plain);
            let allowed = view.number("/status/disruptionsAllowed");
            let bounds = [or_na("/spec/minAvailable"), or_na("/spec/maxUnavailable")];
            cells.extend(bounds.map(Value::String));
            cells.extend([json!(allowed), view.age()]);
        }
        ("autoscaling", _) => view.autoscaler(&mut cells),
        _ => cells.push(json!(view.text("/metadata/creationTimestamp"))),
    }
    cells
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

struct View<'a> {
    object: &'a Value,
    now: Timestamp,
}

impl<'a> View<'a> {
    fn text(&self, path: &str) -> &'a str {
        self.object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn number(&self, path: &str) -> i64 {
        self.object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
    }

    fn size(&self, path: &str) -> usize {
        self.object
            .pointer(path)
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len)
    }

    fn list(&self, path: &str) -> &'a [Value] {
        self.object
            .pointer(path)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn age(&self) -> Value {
        json!(age(self.object, self.now))
    }

    fn selector(&self) -> Value {
        json!(or_none(&print_selector(self.object.pointer("/spec/selector"))))
    }

    fn template(&self, cells: &mut Vec<Value>) {
        let containers = self.list("/spec/template/spec/containers");
        for field in ["name", "image"] {
            let words: Vec<&str> = containers.iter().map(|c| field_text(c, field)).collect();
            cells.push(json!(words.join(",")));
        }
    }

    fn pod(&self, cells: &mut Vec<Value>) {
        let statuses = self.list("/status/containerStatuses");
        let inits = self.list("/status/initContainerStatuses");
        let ready = statuses
            .iter()
            .filter(|s| s["ready"] == Value::Bool(true))
            .count();
        let total = self.list("/spec/containers").len();
        let (mut reason, starting) = self.pod_reason(statuses, inits);
        if self.object.pointer("/metadata/deletionTimestamp").is_some() {
            reason = if self.text("/status/reason") == "NodeLost" {
                "Unknown"
            } else {
                "Terminating"
            }
            .to_owned();
        }
        let counted = if starting { inits } else { statuses };
        let restarts: i64 = counted
            .iter()
            .map(|s| s["restartCount"].as_i64().unwrap_or(0))
            .sum();
        let last = counted
            .iter()
            .filter_map(|s| {
                s.pointer("/lastState/terminated/finishedAt")
                    .and_then(Value::as_str)
            })
            .max();
        let restarts = match last {
            Some(time) if restarts > 0 => format!("{restarts} ({} ago)", since(time, self.now)),
            _ => restarts.to_string(),
        };
        cells.extend([
            json!(format!("{ready}/{total}")),
            json!(reason),
            json!(restarts),
            self.age(),
        ]);
        for path in ["/status/podIP", "/spec/nodeName", "/status/nominatedNodeName"] {
            cells.push(json!(or_none(self.text(path))));
        }
        let gates = self.list("/spec/readinessGates");
        let conditions = self.list("/status/conditions");
        let open = gates.iter().filter(|gate| {
            conditions
                .iter()
                .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
        });
        let shown = if gates.is_empty() {
            NONE.to_owned()
        } else {
            format!("{}/{}", open.count(), gates.len())
        };
        cells.push(json!(shown));
    }

    /// The word for a pod's state, and whether its init containers still run.
    fn pod_reason(&self, statuses: &[Value], inits: &[Value]) -> (String, bool) {
        let mut reason = match self.text("/status/reason") {
            "" => self.text("/status/phase").to_owned(),
            own => own.to_owned(),
        };
        let state = |status: &Value, which: &str, field: &str| {
            status
                .pointer(&format!("/state/{which}/{field}"))
                .map(plain)
                .filter(|t| !t.is_empty())
        };
        let exit = |status: &Value| {
            let signal = state(status, "terminated", "signal").filter(|s| s != "0");
            state(status, "terminated", "reason").unwrap_or_else(|| match signal {
                Some(signal) => format!("Signal:{signal}"),
                None => format!(
                    "ExitCode:{}",
                    state(status, "terminated", "exitCode").unwrap_or_default()
                ),
            })
        };
        for (at, status) in inits.iter().enumerate() {
            if state(status, "terminated", "exitCode").is_some_and(|code| code == "0") {
                continue;
            }
            let why = if status.pointer("/state/terminated").is_some() {
                format!("Init:{}", exit(status))
            } else {
                match state(status, "waiting", "reason").filter(|r| r != "PodInitializing") {
                    Some(why) => format!("Init:{why}"),
                    None => format!("Init:{at}/{}", self.list("/spec/initContainers").len()),
                }
            };
            return (why, true);
        }
        let mut running = false;
        for status in statuses.iter().rev() {
            if let Some(why) = state(status, "waiting", "reason") {
                reason = why;
            } else if status.pointer("/state/terminated").is_some() {
                reason = exit(status);
            } else if status["ready"] == Value::Bool(true) && status.pointer("/state/running").is_some() {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
            let is_ready = self.list("/status/conditions").iter().any(ready);
            reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
        (reason, false)
    }

    fn node(&self, cells: &mut Vec<Value>) {
        let ready = self
            .list("/status/conditions")
            .iter()
            .find(|c| c["type"] == "Ready");
        let mut status = match ready.map(|c| c["status"] == "True") {
            Some(true) => "Ready",
            Some(false) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if self.object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
            status.push_str(",SchedulingDisabled");
        }
        let labels = self
            .object
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let mut roles: Vec<&str> = labels
            .filter_map(|(key, value)| match key.as_str() {
                "kubernetes.io/role" => value.as_str(),
                key => key.strip_prefix("node-role.kubernetes.io/"),
            })
            .filter(|role| !role.is_empty())
            .collect();
        roles.sort_unstable();
        let address = |kind: &str| {
            let found = self.list("/status/addresses").iter().find(|a| a["type"] == kind);
            json!(found.and_then(|a| a["address"].as_str()).unwrap_or(NONE))
        };
        let info = |field: &str| self.text(&format!("/status/nodeInfo/{field}"));
        let known = |field: &str| {
            json!(if info(field).is_empty() {
                "<unknown>"
            } else {
                info(field)
            })
        };
        cells.extend([
            json!(status),
            json!(or_none(&roles.join(","))),
            self.age(),
            json!(info("kubeletVersion")),
        ]);
        cells.extend([address("InternalIP"), address("ExternalIP")]);
        cells.extend(["osImage", "kernelVersion", "containerRuntimeVersion"].map(known));
    }

    fn service(&self, cells: &mut Vec<Value>) {
        let kind = self.text("/spec/type");
        let mut external: Vec<String> = self
            .list("/spec/externalIPs")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let external = match kind {
            "ExternalName" => self.text("/spec/externalName").to_owned(),
            "LoadBalancer" => {
                let ingress = self.list("/status/loadBalancer/ingress").iter();
                external.extend(ingress.map(|i| {
                    let ip = field_text(i, "ip");
                    if ip.is_empty() {
                        field_text(i, "hostname")
                    } else {
                        ip
                    }
                    .to_owned()
                }));
                if external.is_empty() {
                    "<pending>".to_owned()
                } else {
                    external.join(",")
                }
            }
            _ => or_none(&external.join(",")).to_owned(),
        };
        let ports: Vec<String> = self
            .list("/spec/ports")
            .iter()
            .map(|port| {
                let protocol = field_text(port, "protocol");
                match port["nodePort"].as_i64().filter(|p| *p > 0) {
                    Some(node) => format!("{}:{node}/{protocol}", port["port"]),
                    None => format!("{}/{protocol}", port["port"]),
                }
            })
            .collect();
        let internal = or_none(self.text("/spec/clusterIP"));
        cells.extend([
            json!(kind),
            json!(internal),
            json!(external),
            json!(or_none(&ports.join(","))),
        ]);
        cells.extend([self.age(), self.selector()]);
    }

    fn event(&self, cells: &mut Vec<Value>) {
        let pick = |paths: &[&str]| {
            let found = paths
                .iter()
                .map(|path| self.text(path))
                .find(|text| !text.is_empty());
            found.unwrap_or_default()
        };
        let at = |path: &str| {
            pick(&[&format!("/involvedObject/{path}"), &format!("/regarding/{path}")]).to_owned()
        };
        let first = pick(&["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"]);
        let last = pick(&[
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/deprecatedLastTimestamp",
        ]);
        let shown = |time: &str| json!(since(time, self.now));
        let object = format!("{}/{}", at("kind").to_lowercase(), at("name"));
        let component = pick(&["/source/component", "/reportingComponent", "/reportingController"]);
        let host = self.text("/source/host");
        let source = if host.is_empty() {
            component.to_owned()
        } else {
            format!("{component}, {host}")
        };
        let message = pick(&["/message", "/note"]).trim();
        let counts = ["/series/count", "/count", "/deprecatedCount"].map(|path| self.number(path));
        let count = counts.into_iter().find(|n| *n > 0).unwrap_or(1);
        let last = if last.is_empty() { first } else { last };
        cells.extend([
            shown(last),
            json!(self.text("/type")),
            json!(self.text("/reason")),
            json!(object),
        ]);
        cells.extend([
            json!(at("fieldPath")),
            json!(source),
            json!(message),
            shown(first),
            json!(count),
        ]);
        cells.push(json!(self.text("/metadata/name")));
    }

    fn job(&self, cells: &mut Vec<Value>) {
        let condition = |kind: &str| {
            self.list("/status/conditions")
                .iter()
                .any(|c| c["type"] == kind && c["status"] == "True")
        };
        let status = if condition("Complete") {
            "Complete"
        } else if condition("Failed") {
            "Failed"
        } else if self.object.pointer("/metadata/deletionTimestamp").is_some() {
            "Terminating"
        } else if condition("Suspended") {
            "Suspended"
        } else if condition("FailureTarget") {
            "FailureTarget"
        } else if condition("SuccessCriteriaMet") {
            "SuccessCriteriaMet"
        } else {
            "Running"
        };
        let done = self.number("/status/succeeded");
        let parallel = self.number("/spec/parallelism");
        let completions = match self.object.pointer("/spec/completions").and_then(Value::as_i64) {
            Some(wanted) => format!("{done}/{wanted}"),
            None if parallel > 1 => format!("{done}/1 of {parallel}"),
            None => format!("{done}/1"),
        };
        let start = self.text("/status/startTime").parse::<Timestamp>().ok();
        let end = self
            .text("/status/completionTime")
            .parse::<Timestamp>()
            .unwrap_or(self.now);
        let duration = start
            .map(|start| super::span(end.as_second() - start.as_second()))
            .unwrap_or_default();
        cells.extend([json!(status), json!(completions), json!(duration), self.age()]);
        self.template(cells);
        cells.push(self.selector());
    }

    fn cron_job(&self, cells: &mut Vec<Value>) {
        let suspended = self.object.pointer("/spec/suspend") == Some(&Value::Bool(true));
        let last = match self.text("/status/lastScheduleTime") {
            "" => NONE.to_owned(),
            time => since(time, self.now),
        };
        let suspend = if suspended { "True" } else { "False" };
        cells.extend([
            json!(self.text("/spec/schedule")),
            json!(or_none(self.text("/spec/timeZone"))),
        ]);
        cells.extend([
            json!(suspend),
            json!(self.list("/status/active").len()),
            json!(last),
            self.age(),
        ]);
        let job = self
            .object
            .pointer("/spec/jobTemplate")
            .cloned()
            .unwrap_or_default();
        View {
            object: &job,
            now: self.now,
        }
        .template(cells);
        cells.push(json!(or_none(&print_selector(job.pointer("/spec/selector")))));
    }

    fn ingress(&self, cells: &mut Vec<Value>) {
        let hosts: Vec<&str> = self
            .list("/spec/rules")
            .iter()
            .map(|r| field_text(r, "host"))
            .filter(|h| !h.is_empty())
            .collect();
        let balancer = self.list("/status/loadBalancer/ingress").iter();
        let addresses: Vec<&str> = balancer
            .map(|i| {
                if field_text(i, "ip").is_empty() {
                    field_text(i, "hostname")
                } else {
                    field_text(i, "ip")
                }
            })
            .collect();
        let ports = if self.list("/spec/tls").is_empty() {
            "80"
        } else {
            "80, 443"
        };
        let hosts = if hosts.is_empty() {
            "*".to_owned()
        } else {
            hosts.join(",")
        };
        cells.extend([json!(or_none(self.text("/spec/ingressClassName"))), json!(hosts)]);
        cells.extend([json!(addresses.join(",")), json!(ports), self.age()]);
    }

    fn modes(&self, path: &str) -> String {
        let short = |mode: &Value| match mode.as_str() {
            Some("ReadWriteOnce") => "RWO",
            Some("ReadOnlyMany") => "ROX",
            Some("ReadWriteMany") => "RWX",
            Some("ReadWriteOncePod") => "RWOP",
            _ => "",
        };
        self.list(path).iter().map(short).collect::<Vec<_>>().join(",")
    }

    fn phase(&self) -> &'a str {
        let deleting = self.object.pointer("/metadata/deletionTimestamp").is_some();
        if deleting {
            "Terminating"
        } else {
            self.text("/status/phase")
        }
    }

    fn volume(&self, cells: &mut Vec<Value>) {
        let claim = match (
            self.text("/spec/claimRef/namespace"),
            self.text("/spec/claimRef/name"),
        ) {
            ("", "") => String::new(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let unset = |path: &str| {
            if self.text(path).is_empty() {
                "<unset>"
            } else {
                self.text(path)
            }
        };
        cells.extend([
            json!(self.text("/spec/capacity/storage")),
            json!(self.modes("/spec/accessModes")),
        ]);
        cells.extend([
            json!(self.text("/spec/persistentVolumeReclaimPolicy")),
            json!(self.phase()),
            json!(claim),
        ]);
        cells.extend([
            json!(self.text("/spec/storageClassName")),
            json!(unset("/spec/volumeAttributesClassName")),
        ]);
        cells.extend([
            json!(self.text("/status/reason")),
            self.age(),
            json!(unset("/spec/volumeMode")),
        ]);
    }

    fn claim(&self, cells: &mut Vec<Value>) {
        let unset = |path: &str| {
            if self.text(path).is_empty() {
                "<unset>"
            } else {
                self.text(path)
            }
        };
        cells.extend([json!(self.phase()), json!(self.text("/spec/volumeName"))]);
        cells.extend([
            json!(self.text("/status/capacity/storage")),
            json!(self.modes("/status/accessModes")),
        ]);
        cells.extend([
            json!(self.text("/spec/storageClassName")),
            json!(unset("/spec/volumeAttributesClassName")),
        ]);
        cells.extend([self.age(), json!(unset("/spec/volumeMode"))]);
    }

    fn endpoints(&self) -> String {
        let mut all = Vec::new();
        for subset in self.list("/subsets") {
            let ports = subset["ports"].as_array().map_or(&[] as &[Value], Vec::as_slice);
            for address in subset["addresses"].as_array().into_iter().flatten() {
                let ip = field_text(address, "ip");
                if ports.is_empty() {
                    all.push(ip.to_owned());
                }
                all.extend(ports.iter().map(|port| format!("{ip}:{}", port["port"])));
            }
        }
        shorten(&all, 3)
    }

    fn slice(&self, cells: &mut Vec<Value>) {
        let ports: Vec<String> = self
            .list("/ports")
            .iter()
            .map(|port| {
                port["port"]
                    .as_i64()
                    .map_or_else(|| "*".to_owned(), |p| p.to_string())
            })
            .collect();
        let ports = if ports.is_empty() {
            "<unset>".to_owned()
        } else {
            shorten(&ports, 3)
        };
        let addresses = self
            .list("/endpoints")
            .iter()
            .flat_map(|e| e["addresses"].as_array().into_iter().flatten());
        let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
        let addresses = if addresses.is_empty() {
            "<unset>".to_owned()
        } else {
            shorten(&addresses, 3)
        };
        cells.extend([
            json!(self.text("/addressType")),
            json!(ports),
            json!(addresses),
            self.age(),
        ]);
    }

    fn binding(&self, cells: &mut Vec<Value>) {
        let role = format!("{}/{}", self.text("/roleRef/kind"), self.text("/roleRef/name"));
        let of = |kind: &str| {
            let subjects = self.list("/subjects").iter().filter(|s| s["kind"] == kind);
            let names = subjects.map(|s| match field_text(s, "namespace") {
                "" => field_text(s, "name").to_owned(),
                namespace => format!("{namespace}/{}", field_text(s, "name")),
            });
            json!(names.collect::<Vec<_>>().join(", "))
        };
        cells.extend([
            json!(role),
            self.age(),
            of("User"),
            of("Group"),
            of("ServiceAccount"),
        ]);
    }

    fn autoscaler(&self, cells: &mut Vec<Value>) {
        let at = |field: &str| self.text(&format!("/spec/scaleTargetRef/{field}"));
        let least = self
            .object
            .pointer("/spec/minReplicas")
            .map_or_else(|| "<unset>".to_owned(), plain);
        cells.extend([
            json!(format!("{}/{}", at("kind"), at("name"))),
            json!("<unknown>"),
            json!(least),
        ]);
        let (most, now) = (
            self.number("/spec/maxReplicas"),
            self.number("/status/currentReplicas"),
        );
        cells.extend([json!(most), json!(now), self.age()]);
    }
}

fn field_text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn shorten(all: &[String], most: usize) -> String {
    match all.len() {
        0 => NONE.to_owned(),
        n if n > most => format!("{} + {} more...", all[..most].join(","), n - most),
        _ => all.join(","),
    }
}
