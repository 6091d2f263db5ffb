//! Things that go by name: the operands of a node, wherever they are a slice, a weight, a view or numbers in memory.

use std::ops::{Index, IndexMut};

/// A few things with a name each, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(Vec<(&'static str, T)>);

impl<T> Named<T> {
    /// The thing of a name, if it is there.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, thing)| thing)
    }

    /// Whether there is a thing of this name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a thing after the others.
    ///
    /// Panics where the name is taken.
    pub fn push(&mut self, name: &'static str, thing: T) {
        assert!(!self.has(name), "there are two operands named `{name}`");
        self.0.push((name, thing));
    }

    /// The things in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter().map(|(_, thing)| thing)
    }

    /// The names and things in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&'static str, &T)> {
        self.0.iter().map(|(name, thing)| (*name, thing))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What each thing becomes, under the same name.
    pub fn map<'a, U>(&'a self, mut map: impl FnMut(&'a T) -> U) -> Named<U> {
        Named(self.0.iter().map(|(name, thing)| (*name, map(thing))).collect())
    }
}

impl<T> Default for Named<T> {
    fn default() -> Named<T> {
        Named(Vec::new())
    }
}

impl<T> FromIterator<(&'static str, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(things: I) -> Named<T> {
        let mut named = Named::default();
        things.into_iter().for_each(|(name, thing)| named.push(name, thing));
        named
    }
}

/// Panics where there is no thing of the name: an op's operands are its own promise.
impl<T> Index<&str> for Named<T> {
    type Output = T;

    fn index(&self, name: &str) -> &T {
        self.get(name).unwrap_or_else(|| panic!("there is no operand named `{name}`"))
    }
}

impl<T> IndexMut<&str> for Named<T> {
    fn index_mut(&mut self, name: &str) -> &mut T {
        let thing = self.0.iter_mut().find(|(own, _)| *own == name).map(|(_, thing)| thing);
        thing.unwrap_or_else(|| panic!("there is no operand named `{name}`"))
    }
}
