//! A file of each era, and what is wrong with others.

use super::*;

const ERAS: [(&str, &str); 4] = [
    ("2015", include_str!("../../../../contracts/vmpooler/yaml/2015.yaml")),
    ("1", include_str!("../../../../contracts/vmpooler/yaml/1.yaml")),
    ("2", include_str!("../../../../contracts/vmpooler/yaml/2.yaml")),
    ("3", include_str!("../../../../contracts/vmpooler/yaml/3.yaml")),
];

fn import(text: &str) -> Result<Imported, ImportError> {
    vmpooler("vmpooler.yaml", text, &BTreeMap::new(), &|name| Err(format!("there is no {name}")))
}

fn refused(text: &str) -> String {
    import(text).unwrap_err().to_string()
}

#[test]
fn a_file_of_each_era_becomes_a_configuration_and_a_report() {
    for (era, text) in ERAS {
        let Imported { config, report } = import(text).unwrap();
        insta::assert_snapshot!(format!("era {era}"), format!("{config}\n----\n{report}"));
    }
}

#[test]
fn no_password_is_in_what_comes_out() {
    for (era, text) in ERAS {
        let Imported { config, report } = import(text).unwrap();
        assert!(text.contains("not-for-anybody"), "{era}");
        for out in [&config, &report.to_string(), &serde_json::to_string(&report).unwrap()] {
            assert!(!out.contains("not-for-anybody"), "{era}: {out}");
        }
    }
}

#[test]
fn symbols_and_plain_keys_mean_the_same() {
    for (era, text) in ERAS {
        let plain = text.lines().map(|line| {
            let indent = line.len() - line.trim_start().len();
            format!("{}{}\n", &line[..indent], line.trim_start().strip_prefix(':').unwrap_or(&line[indent..]))
        });
        let plain: String = plain.collect();
        let (old, new) = (import(text).unwrap(), import(&plain).unwrap());
        assert_eq!((old.config, old.report), (new.config, new.report), "{era}");
    }
}

#[test]
fn a_template_is_called_what_it_is_given() {
    let templates = BTreeMap::from([("templates/win-2019".to_owned(), "windows".to_owned())]);
    let none = |_: &str| Err(String::new());
    let imported = vmpooler("vmpooler.yaml", ERAS[2].1, &templates, &none).unwrap();
    assert_eq!(imported.config.matches("template = \"windows\"").count(), 2, "{}", imported.config);
    let templates = BTreeMap::from([("nobody".to_owned(), "windows".to_owned())]);
    let error = vmpooler("vmpooler.yaml", ERAS[2].1, &templates, &none).unwrap_err();
    assert_eq!(error.to_string(), "no pool has the template `nobody`");
}

#[test]
fn further_files_are_laid_over_the_first() {
    let text = ":config:\n  extra_config: more.yaml, most.yaml\n  vm_lifetime: 1\n:pools:\n- {name: a, template: t, size: 1}\n";
    let further = |name: &str| match name {
        "more.yaml" => Ok(":config:\n  vm_lifetime: 2\n".to_owned()),
        "most.yaml" => Ok(":pools:\n- {name: b, template: t, size: 1}\n".to_owned()),
        _ => Err("not there".to_owned()),
    };
    let imported = vmpooler("vmpooler.yaml", text, &BTreeMap::new(), &further).unwrap();
    assert!(imported.config.contains("lifetime_s = 7200") && imported.config.contains("name = \"b\""));
    assert_eq!(refused(text), "cannot read more.yaml: there is no more.yaml");
}

#[test]
fn what_cannot_be_taken_over_is_refused_where_it_stands() {
    let pool = "pools:\n- name: a\n  template: t\n  size: 1\n";
    for (text, said) in [
        ("pools: [1, 2\n", "vmpooler.yaml:2:1: "),
        ("pools: {}\n", "vmpooler.yaml:1:8: pools must be a list"),
        ("- pools\n", "vmpooler.yaml:1:1: "),
        ("pools:\n- template: t\n  size: 1\n", "vmpooler.yaml:2:3: a pool needs a name"),
        ("pools:\n- name: a\n  size: 1\n", "vmpooler.yaml:2:3: a pool needs a template"),
        ("pools:\n- name: a\n  template: t\n", "vmpooler.yaml:2:3: a pool needs a size"),
        (
            "pools:\n- name: a\n  template: t\n  size: many\n",
            "vmpooler.yaml:4:9: pool a.size must be a whole number",
        ),
        (
            &format!("{pool}- name: a\n  template: t\n  size: 1\n"),
            "vmpooler.yaml:5:9: there are two pools `a`",
        ),
        (&format!("{pool}- name: v2\n  template: t\n  size: 1\n"), "vmpooler.yaml:5:3: pool `v2`: "),
        (&format!("{pool}- name: b\n  template: t\n  size: 99999999999\n"), "hostler would refuse"),
        (
            "config:\n  vm_lifetime: soon\n",
            "vmpooler.yaml:2:16: config.vm_lifetime must be a number of hours",
        ),
        ("auth:\n  provider: ldap\n", "vmpooler.yaml:2:13: auth.provider is ldap, but there is no auth.ldap"),
        ("auth:\n  provider: ldap\n  ldap:\n    base: x\n", "vmpooler.yaml:4:5: auth.ldap needs a host"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(said), "{text}\n{error}");
    }
}

#[test]
fn what_is_not_known_is_told_and_never_fatal() {
    let text = "config: {odd: secret-1}\nstrange: {x: secret-2}\nredis: {tls: secret-3}\n\
                pools: [{name: a, template: t, size: 1, shape: secret-4}]\n";
    let report = import(text).unwrap().report;
    let left: Vec<&str> = report.left.iter().map(|line| line.key.as_str()).collect();
    assert_eq!(left, ["config.odd", "redis.tls", "pools.shape", "strange"]);
    assert!(!report.to_string().contains("secret"), "{report}");
}

#[test]
fn an_empty_file_is_a_configuration_without_pools() {
    for text in ["", "---\n", "# nothing\n"] {
        let imported = import(text).unwrap();
        assert!(imported.report.to_do.iter().any(|line| line.key == "pools"), "{}", imported.report);
    }
}
