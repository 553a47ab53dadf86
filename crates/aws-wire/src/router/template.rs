//! Path templates of REST operations.

use std::collections::HashMap;

use http::Method;
use lambfold_api::Operation;
use percent_encoding::percent_decode_str;

/// The parts of a path that are members, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub(super) Vec<(&'static str, String)>);

impl Labels {
    /// The part that the template calls `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// Templates by API date and number of segments: what is left are a few to compare.
#[derive(Debug)]
pub(super) struct Templates {
    by_shape: HashMap<(&'static str, usize), Vec<Template>>,
}

#[derive(Debug)]
struct Template {
    method: Method,
    /// Behind the date.
    segments: Vec<Segment>,
    /// A fixed parameter, such as `find=LayerVersion`.
    query: Option<(&'static str, &'static str)>,
    operation: &'static Operation,
}

#[derive(Debug)]
enum Segment {
    Literal(&'static str),
    Label(&'static str),
}

impl Templates {
    /// Indexes the operations that have a REST binding.
    pub(super) fn new(operations: impl Iterator<Item = &'static Operation>) -> Self {
        let mut by_shape: HashMap<_, Vec<Template>> = HashMap::new();
        for operation in operations {
            let Some(http) = &operation.http else { continue };
            let (path, query) = match http.path.split_once('?') {
                Some((path, query)) => (path, query.split_once('=')),
                None => (http.path, None),
            };
            let mut parts = path.trim_matches('/').split('/');
            let date = parts.next().unwrap_or_default();
            let segments: Vec<Segment> = parts
                .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                    Some(label) => Segment::Label(label),
                    None => Segment::Literal(part),
                })
                .collect();
            let method = http.method.parse().expect("the table has methods of HTTP");
            by_shape.entry((date, segments.len())).or_default().push(Template {
                method,
                segments,
                query,
                operation,
            });
        }
        for templates in by_shape.values_mut() {
            // The more a template fixes, the earlier it is asked.
            templates.sort_by_key(|template| {
                let labels = template.segments.iter().filter(|it| matches!(it, Segment::Label(_))).count();
                (template.query.is_none(), labels)
            });
        }
        Self { by_shape }
    }

    /// Whether the path begins with the date of an API, as those of REST operations do.
    pub(super) fn claims(path: &str) -> bool {
        let date = path.trim_start_matches('/').split('/').next().unwrap_or_default().as_bytes();
        date.len() == 10
            && date.iter().enumerate().all(|(at, byte)| match at {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    }

    /// The operation at that place, and the labels of its path. Slashes at the end do not count.
    pub(super) fn find(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Option<(&'static Operation, Labels)> {
        let mut segments = path.strip_prefix('/')?.trim_end_matches('/').split('/');
        let date = segments.next()?;
        let segments: Vec<&str> = segments.take(16).collect();
        let templates = self.by_shape.get(&(date, segments.len()))?;
        let template = templates
            .iter()
            .find(|template| template.method == *method && template.matches(&segments, query))?;
        Some((template.operation, template.labels(&segments)?))
    }
}

impl Template {
    fn matches(&self, segments: &[&str], query: Option<&str>) -> bool {
        let path = self.segments.iter().zip(segments).all(|(segment, part)| match segment {
            Segment::Literal(literal) => literal == part,
            Segment::Label(_) => !part.is_empty(),
        });
        path && self.query.is_none_or(|(name, value)| {
            form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .any(|(key, given)| key == name && given == value)
        })
    }

    /// `None` if a part does not decode to text.
    fn labels(&self, segments: &[&str]) -> Option<Labels> {
        let parts = self.segments.iter().zip(segments);
        let labels = parts.filter_map(|(segment, part)| match segment {
            Segment::Literal(_) => None,
            Segment::Label(name) => {
                Some(percent_decode_str(part).decode_utf8().ok().map(|value| (*name, value.into_owned())))
            }
        });
        labels.collect::<Option<Vec<_>>>().map(Labels)
    }
}
