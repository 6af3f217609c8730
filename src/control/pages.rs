//! What the admin pages show of a snapshot: names, numbers and rules; never a key, never a payload.

use super::admin::ExplainQuery;
use super::snapshot::Snapshot;
use crate::identity::PeerId;
use crate::policy::{BodyRule, RequestPath};
use crate::wire::{Coding, Contract, Framing, PublishedSchema, Reading};
use serde_json::{Value, json};
use std::time::SystemTime;

/// The routes in force, with their rules and contracts.
pub fn policy(now: &Snapshot) -> Value {
    let routes: Vec<Value> = now
        .policy
        .routes()
        .iter()
        .map(|route| {
            let request = match &route.request {
                BodyRule::Empty => json!("empty"),
                BodyRule::Unvalidated => json!("unvalidated"),
                BodyRule::Contract(bound) => contract(now, bound),
            };
            json!({
                "name": *route.name,
                "document": *route.document,
                "mode": format!("{:?}", route.mode),
                "enforcePercent": route.enforce_percent,
                "rules": route.rule_names().map(|name| &**name).collect::<Vec<_>>(),
                "request": request,
                "upgrade": route.upgrade,
                "response": route.response.as_deref().map(|bound| contract(now, bound)),
                "errors": route.errors.as_deref().map(|bound| contract(now, bound)),
            })
        })
        .collect();
    json!({ "generation": now.generation, "everythingDry": now.policy.everything_dry(), "routes": routes })
}

fn contract(now: &Snapshot, contract: &Contract) -> Value {
    let framings = Framing::ALL.into_iter().filter(|framing| contract.framings.contains(*framing));
    let name = |index| {
        let PublishedSchema { subject, version, .. } = now.schemas.get(index);
        format!("{subject}@{version}")
    };
    let schemas = contract.schemas.as_slice().iter().map(|index| name(*index));
    let readings = contract.readings.iter().map(|(writer, reader, reading)| {
        let never = match reading {
            Reading::Program(_) => None,
            Reading::Never(why) => Some(why.summary()),
        };
        json!({ "schema": name(writer), "reader": **reader, "incompatible": never })
    });
    json!({
        "framing": framings.map(Framing::word).collect::<Vec<_>>(),
        "schemas": schemas.collect::<Vec<_>>(),
        "readings": readings.collect::<Vec<_>>(),
        "contentCodings": contract.codings.iter().map(Coding::word).collect::<Vec<_>>(),
        "maxBodyBytes": contract.limits.body_bytes_max,
        "maxDepth": contract.limits.datum.depth_max,
        "maxItems": contract.limits.datum.items_max,
        "maxRatio": contract.limits.ratio_max,
        "strictVarints": contract.limits.datum.strict_varints,
        "logical": contract.limits.datum.logical,
        "onInvalid": format!("{:?}", contract.on_invalid),
    })
}

/// The schemas published here.
pub fn schemas(now: &Snapshot) -> Value {
    let schemas = now.schemas.iter().map(|(_, published)| {
        json!({
            "subject": *published.subject,
            "version": published.version,
            "ids": published.ids,
            "owner": published.owner.as_deref(),
            "lifecycle": format!("{:?}", published.lifecycle).to_lowercase(),
            "fullName": published.schema.full_name(),
            "fingerprint": format!("{:016x}", published.fingerprint),
            "sha256": published.schema.sha256().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        })
    });
    json!({ "generation": now.generation, "schemas": schemas.collect::<Vec<_>>() })
}

/// Who we are, and whom we believe.
pub fn certs(now: &Snapshot) -> Value {
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let bundles = now.tls.bundles().domains().map(|(domain, anchors, last)| {
        json!({ "trustDomain": domain.as_str(), "certificates": anchors, "lastExpiresAt": last.map(seconds) })
    });
    json!({
        "id": now.svid.id.as_str(),
        "notBefore": seconds(now.svid.not_before),
        "notAfter": seconds(now.svid.not_after),
        "trustBundles": bundles.collect::<Vec<_>>(),
        "crls": now.tls.bundles().crls(),
    })
}

/// How the policy decides on a request.
pub fn explain(now: &Snapshot, query: &ExplainQuery) -> Result<Value, String> {
    let peer: PeerId = query.from.parse().map_err(|error| format!("from: {error}"))?;
    let path = RequestPath::parse(&query.path).map_err(|error| format!("path: {error}"))?;
    serde_json::to_value(now.policy.explain(Some(&peer), &query.method, &path)).map_err(|error| error.to_string())
}
